// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"errors"
	"testing"
	"testing/fstest"

	"github.com/peelboot/peel/image"
)

// rig is a guest without a processor: tests call the services.
type rig struct {
	*Firmware
	t     testing.TB
	cpu   *fakeCPU
	plat  *fakePlatform
	trace []Call
}

type fakePlatform struct {
	mem    []byte
	cpu    *fakeCPU
	code   map[uint64]bool
	asked  int
	within error
}

func (p *fakePlatform) Memory() []byte { return p.mem }
func (p *fakePlatform) CPU() CPU       { return p.cpu }
func (p *fakePlatform) Within() error {
	p.asked++
	return p.within
}
func (p *fakePlatform) Code(start, size uint64, execute, write bool) error {
	for a := start; a < start+size; a += pageSize {
		p.code[a] = execute
	}
	return nil
}

var errNoArg = errors.New("stack is nowhere")

type fakeCPU struct {
	args    []uint64
	ret     uint64
	entered []uint64
	sp      uint64
}

func (c *fakeCPU) SP() uint64 { return c.sp }
func (c *fakeCPU) Arg(n int) (uint64, error) {
	if n >= len(c.args) {
		return 0, errNoArg
	}
	return c.args[n], nil
}
func (c *fakeCPU) Return(v uint64) { c.ret = v }
func (c *fakeCPU) Result() uint64  { return c.ret }
func (c *fakeCPU) Enter(entry, top, ret uint64, args ...uint64) error {
	c.entered = append([]uint64{entry, top, ret}, args...)
	return nil
}
func (c *fakeCPU) Save() (any, error) { return 1, nil }
func (c *fakeCPU) Restore(any) error  { return nil }

const (
	rigStart = 1 << 20
	rigSize  = 8 << 20
	scratch  = rigStart + 0x100000 // memory of the guest's own
)

// newRig makes a guest with 8 MiB, half a MiB of it allocated as scratch.
func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	cpu := &fakeCPU{sp: scratch + 0x40000}
	p := &fakePlatform{mem: make([]byte, rigStart+rigSize), cpu: cpu, code: map[uint64]bool{}}
	r := &rig{t: t, cpu: cpu, plat: p}
	cfg := Config{Arch: image.ArchX86_64, Random: bytes.NewReader(bytes.Repeat([]byte{0xa5}, 1<<20)),
		Regions: []Region{
			{0, rigStart, BootServicesData, memoryAttributes},
			{rigStart, rigSize, Conventional, memoryAttributes},
			{rigStart + rigSize, 0x100000, Reserved, 0},
		},
		Initrds: [][]byte{[]byte("first"), []byte("second")},
		Dir: fstest.MapFS{
			"EFI/Linux/a.efi": {Data: []byte("image")},
			"loader/x.conf":   {Data: []byte("0123456789")},
		},
		Path:       "EFI/Linux/a.efi",
		VerifyFile: func(string, []byte) error { return nil },
		Trace:      func(c Call) { r.trace = append(r.trace, c) },
	}
	if change != nil {
		change(&cfg)
	}
	f, err := New(p, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Firmware = f
	f.setType(scratch, 0x80000, LoaderData)
	return r
}

// do calls a service by name.
func (r *rig) do(name string, args ...uint64) Status {
	r.t.Helper()
	for i, s := range r.services {
		if s.name == name {
			r.cpu.args = append(args, 0)
			if err := r.Call(r.slots + uint64(i)*slotSize); err != nil {
				r.t.Fatalf("%s(%#x) = %v", name, args, err)
			}
			return Status(r.cpu.ret)
		}
	}
	r.t.Fatalf("no service %s", name)
	return 0
}

// want calls a service and checks its status.
func (r *rig) want(want Status, name string, args ...uint64) {
	r.t.Helper()
	if got := r.do(name, args...); got != want {
		r.t.Errorf("%s(%#x) = %v, want %v (%s)", name, args, got, want, r.trace[len(r.trace)-1].Note)
	}
}

func (r *rig) put(at uint64, b []byte) uint64 {
	copy(r.mem[at:], b)
	return at
}

func (r *rig) put64(at uint64, v uint64) uint64 {
	le.PutUint64(r.mem[at:], v)
	return at
}

func (r *rig) get64(at uint64) uint64 { return le.Uint64(r.mem[at:]) }

func (r *rig) putGUID(at uint64, g GUID) uint64 { return r.put(at, g[:]) }

// sane checks what must hold whatever a guest does.
func (r *rig) sane() {
	r.t.Helper()
	var at, total uint64
	for _, g := range r.regions {
		if g.Start != at || g.Size == 0 || g.Start%pageSize != 0 || g.Size%pageSize != 0 {
			r.t.Fatalf("memory map is broken at %#x: %v", at, r.regions)
		}
		at = g.End()
		total += g.Size
	}
	if total != rigStart+rigSize+0x100000 {
		r.t.Fatalf("memory map covers %#x bytes", total)
	}
	if r.regions[0].Type != BootServicesData || r.regions[0].Size < rigStart {
		r.t.Fatalf("memory below RAM changed: %v", r.regions[0])
	}
	for _, o := range r.own {
		if t, ok := r.typeOf(o.Start, o.Size); !ok || t == Conventional {
			r.t.Fatalf("firmware's own memory %#x+%#x is %v", o.Start, o.Size, t)
		}
	}
	for i := range r.services {
		if b := r.mem[r.slots+uint64(i)*slotSize:]; b[0] != 0xcc || b[1] != 0xc3 {
			r.t.Fatalf("slot %d is overwritten", i)
		}
	}
	if len(r.pool) > maxPools || len(r.handles) > maxHandles+8 || len(r.console) > maxConsole {
		r.t.Fatal("limits exceeded")
	}
}
