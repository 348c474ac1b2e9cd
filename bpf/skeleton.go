// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// What a light skeleton's blob begins with: file descriptors of maps, then of
// kernel-function BTF, 32 bits each (tools/lib/bpf/bpf_gen_internal.h).
const (
	skelMapSlots   = 64
	skelKfuncSlots = 256
	skelFDBytes    = 4 * (skelMapSlots + skelKfuncSlots)
)

// The context of the loader program (tools/lib/bpf/skel_internal.h): a head
// of 24 bytes, 16 bytes a map, 4 bytes a program.
const (
	skelHead    = 24
	skelMapDesc = 16
)

// loaderBudget bounds a loader program. Those that bpftool writes have some
// hundred instructions for each map and program, and no loops.
var loaderBudget = Budget{Instructions: 4 << 20, Memory: 2 * MaxObjectBytes}

// LoadSkeleton runs a light skeleton's loader program in the machine, with
// the bpf(2) commands that it issues emulated, and collects what it would have
// given to the kernel.
//
// insns are the loader's instructions (opts_insn), data its blob (opts_data,
// copied). The host answers which kernel functions exist; nil says that all
// do.
func LoadSkeleton(insns, data []byte, h *Host) (*Object, error) {
	o, err := loadSkeleton(insns, data, h)
	if err != nil {
		return nil, fmt.Errorf("load light skeleton: %w", err)
	}
	return o, nil
}

func loadSkeleton(insns, data []byte, h *Host) (*Object, error) {
	if len(data) > MaxObjectBytes || len(insns) > MaxInstructions*slotBytes {
		return nil, fmt.Errorf("%#x bytes of instructions, %#x of data: %w", len(insns), len(data), ErrLimit)
	}
	if len(data) < skelFDBytes {
		return nil, fmt.Errorf("blob of %#x bytes, at least %#x needed: %w", len(data), skelFDBytes, ErrTruncated)
	}
	k := &kernel{host: h, object: &Object{Format: FormatSkeleton, License: ""}, fds: map[int32]any{}, next: 3}
	loader := &Program{Name: "loader", Type: ProgTypeSyscall, insns: insns}
	blob := &MapSpec{
		Name: "__loader.map", Type: MapArray, KeySize: 4, ValueSize: uint32(len(data)), MaxEntries: 1, Contents: data,
	}
	host := &Host{Helpers: map[int32]Func{
		helperSysBpf:       k.sysBpf,
		helperBtfFind:      k.btfFind,
		helperSysClose:     k.sysClose,
		helperKallsymsName: k.kallsyms,
	}}
	lo := &Object{Programs: []*Program{loader}, Maps: []*MapSpec{blob}}
	m, err := lo.Link(host, Options{Budget: loaderBudget})
	if err != nil {
		return nil, err
	}
	// How many maps and programs there are is only known once the loader has
	// run, so the context holds as many as could be, and says so in no field
	// that the loader reads.
	buf := make([]byte, skelHead+skelMapDesc*MaxMaps+4*MaxPrograms)
	binary.LittleEndian.PutUint32(buf, uint32(len(buf)))
	ctx, err := m.Map("loader context", buf, PermRead|PermWrite)
	if err != nil {
		return nil, err
	}
	r0, err := m.Run(context.Background(), "loader", ctx)
	switch {
	case k.err != nil:
		// The command says more than the number that the loader made of it.
		return nil, k.err
	case err != nil:
		return nil, err
	case int32(r0) < 0:
		return nil, fmt.Errorf("loader program returned %d: %w", int32(r0), ErrFormat)
	case len(k.object.Programs) == 0:
		return nil, fmt.Errorf("loader program loaded no program: %w", ErrNoProgram)
	}
	return k.object, nil
}

// Helpers that only loader programs have.
const (
	helperSysBpf       = 166
	helperBtfFind      = 167
	helperSysClose     = 168
	helperKallsymsName = 179
)

// kernel plays the part of the kernel for a loader program.
type kernel struct {
	host   *Host
	object *Object
	fds    map[int32]any // *MapSpec, *BTF or *Program
	next   int32
	err    error // why a command failed, for people
	// names are what btf_find_by_name_kind was asked for; its ids count from 1.
	names []kernelName
	// slots is work done so far, against maxObjectSlots.
	slots int
}

type kernelName struct {
	name string
	kind uint32
}

func (k *kernel) open(v any) uint64 {
	fd := k.next
	k.next++
	k.fds[fd] = v
	return uint64(fd)
}

// Commands of bpf(2), enum bpf_cmd of include/uapi/linux/bpf.h.
const (
	cmdMapCreate = 0
	cmdMapUpdate = 2
	cmdProgLoad  = 5
	cmdBtfLoad   = 18
	cmdMapFreeze = 22
)

// sysBpf is bpf_sys_bpf(cmd, attr, size).
func (k *kernel) sysBpf(m *Machine, a [5]uint64) (uint64, error) {
	const most = 512
	n := uint64(uint32(a[2]))
	if n > most {
		return errno(e2big), nil
	}
	view, err := m.View(a[1], n)
	if err != nil {
		return 0, err
	}
	// Fields beyond what the loader gives read as zero.
	attr := make(attr, most)
	copy(attr, view)
	if err := m.Charge(256); err != nil {
		return 0, err
	}
	var fd uint64
	switch a[0] {
	case cmdBtfLoad:
		fd, err = k.btfLoad(m, attr)
	case cmdMapCreate:
		fd, err = k.mapCreate(attr)
	case cmdMapUpdate:
		err = k.mapUpdate(m, attr)
	case cmdMapFreeze:
		var s *MapSpec
		if s, err = k.mapByFD(attr.u32(0)); err == nil {
			s.Frozen = true
		}
	case cmdProgLoad:
		fd, err = k.progLoad(m, attr)
	default:
		err = fmt.Errorf("bpf command %d: %w", a[0], ErrUnsupported)
	}
	if err != nil {
		if errors.Is(err, ErrInstructions) || errors.Is(err, ErrTime) {
			return 0, err
		}
		if k.err == nil {
			k.err = fmt.Errorf("bpf command %d: %w", a[0], err)
		}
		return errno(einval), nil
	}
	return fd, nil
}

// attr is union bpf_attr.
type attr []byte

func (a attr) u32(off int) uint32 { return binary.LittleEndian.Uint32(a[off:]) }
func (a attr) u64(off int) uint64 { return binary.LittleEndian.Uint64(a[off:]) }

// name reads a BPF_OBJ_NAME_LEN field.
func (a attr) name(off int) string {
	b := a[off : off+16]
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func (k *kernel) btfLoad(m *Machine, a attr) (uint64, error) {
	b, err := m.View(a.u64(0), uint64(a.u32(16)))
	if err != nil {
		return 0, err
	}
	if k.object.BTF != nil {
		return 0, fmt.Errorf("second BTF: %w", ErrUnsupported)
	}
	if err := m.chargeBytes(16 * uint64(len(b))); err != nil {
		return 0, err
	}
	t, err := parseBTF(b)
	if err != nil {
		return 0, err
	}
	k.object.BTF = t
	return k.open(t), nil
}

func (k *kernel) mapCreate(a attr) (uint64, error) {
	if len(k.object.Maps) == MaxMaps {
		return 0, fmt.Errorf("more than %d maps: %w", MaxMaps, ErrLimit)
	}
	s := &MapSpec{
		Type: MapType(a.u32(0)), KeySize: a.u32(4), ValueSize: a.u32(8), MaxEntries: a.u32(12),
		Flags: a.u32(16), Name: a.name(28),
	}
	k.object.Maps = append(k.object.Maps, s)
	return k.open(s), nil
}

func (k *kernel) mapByFD(fd uint32) (*MapSpec, error) {
	s, ok := k.fds[int32(fd)].(*MapSpec)
	if !ok {
		return nil, fmt.Errorf("file descriptor %d is no map: %w", int32(fd), ErrFormat)
	}
	return s, nil
}

// mapUpdate takes a map's contents; only entry 0 of an array can have some.
func (k *kernel) mapUpdate(m *Machine, a attr) error {
	s, err := k.mapByFD(a.u32(0))
	if err != nil {
		return err
	}
	key, err := m.View(a.u64(8), 4)
	if err != nil {
		return err
	}
	if s.Type != MapArray || s.Frozen || binary.LittleEndian.Uint32(key) != 0 {
		return fmt.Errorf("update of map %s: %w", s.Name, ErrUnsupported)
	}
	value, err := m.View(a.u64(16), uint64(s.ValueSize))
	if err != nil {
		return err
	}
	// The contents are part of the blob, so they can overlap between maps:
	// without this, few bytes could become many.
	if err := m.chargeBytes(256 * uint64(len(value)) / 16); err != nil {
		return err
	}
	s.Contents = slices.Clone(value)
	return nil
}

// btfFind is bpf_btf_find_by_name_kind(name, size, kind, flags): the id of a
// kernel type. BTF ids are ours; the upper half, the BTF object, is 0 for the
// kernel proper.
func (k *kernel) btfFind(m *Machine, a [5]uint64) (uint64, error) {
	n := uint64(uint32(a[1]))
	if n < 2 || n > 4096 || a[3] != 0 {
		return errno(einval), nil
	}
	name, err := m.CString(a[0], n)
	if err != nil {
		return 0, err
	}
	if err := m.Charge(64); err != nil {
		return 0, err
	}
	kind := uint32(a[2])
	if !k.exists(name, kind) {
		return errno(enoent), nil
	}
	want := kernelName{name, kind}
	i := slices.Index(k.names, want)
	if i < 0 {
		if len(k.names) >= 1024 {
			return errno(e2big), nil
		}
		k.names = append(k.names, want)
		i = len(k.names) - 1
	}
	return uint64(i + 1), nil
}

// exists tells whether the host has a kernel function or type.
func (k *kernel) exists(name string, kind uint32) bool {
	if k.host == nil {
		return true
	}
	if TypeKind(kind) == KindFunc {
		if _, ok := k.host.Kfuncs[name]; ok {
			return true
		}
		return k.host.Hooks == nil || slices.Contains(k.host.Hooks, name)
	}
	return slices.ContainsFunc(k.host.Types, func(t *Type) bool { return t.Name == name && t.Kind == TypeKind(kind) })
}

// nameOf is the inverse of btfFind.
func (k *kernel) nameOf(id uint32) (string, bool) {
	if id == 0 || uint64(id) > uint64(len(k.names)) {
		return "", false
	}
	return k.names[id-1].name, true
}

func (k *kernel) sysClose(_ *Machine, a [5]uint64) (uint64, error) {
	fd := int32(a[0])
	if _, ok := k.fds[fd]; !ok {
		return errno(ebadf), nil
	}
	delete(k.fds, fd)
	return 0, nil
}

// kallsyms is bpf_kallsyms_lookup_name(name, size, flags, res): there are no
// kernel symbols here.
func (k *kernel) kallsyms(m *Machine, a [5]uint64) (uint64, error) {
	res, err := m.Mutable(a[3], 8)
	if err != nil {
		return 0, err
	}
	clear(res)
	return errno(enoent), nil
}
