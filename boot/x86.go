// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"slices"

	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/linux"
)

const (
	x86MinAddress = 1 << 20 // below lie BIOS data and what old code wants
	fourGiB       = 1 << 32
	// x86Entry64 is the offset of the 64-bit entry in the protected-mode code
	// (boot.rst, "64-bit Boot Protocol").
	x86Entry64 = 0x200
	// x86CmdlineSize is COMMAND_LINE_SIZE less the NUL, for a kernel without
	// a setup header.
	x86CmdlineSize = 2047
	// x86SeedSize is how much seed SETUP_RNG_SEED gets (kexec-bzimage64.c,
	// RNG_SEED_LENGTH).
	x86SeedSize = 32
)

// bzImage plans the 64-bit entry of a bzImage.
func (b *builder) bzImage() error {
	k, err := linux.ParseBzImage(b.Kernel.Data)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrKernel)
	}
	if k.Protocol < 0x020c || k.XLoadFlags&linux.XKernel64 == 0 {
		return fmt.Errorf("protocol %s, xloadflags %#x: no 64-bit entry: %w", k.ProtocolString(), k.XLoadFlags, ErrKernel)
	}
	if k.LoadFlags&linux.LoadedHigh == 0 {
		return fmt.Errorf("zImage, not bzImage: %w", ErrKernel)
	}
	if b.host.FiveLevel && k.XLoadFlags&linux.X5Level == 0 {
		return fmt.Errorf("the running kernel uses 5-level paging, this one cannot: %w", ErrKernel)
	}
	code := k.Code()
	if len(code) <= x86Entry64 {
		return fmt.Errorf("protected-mode code of %#x bytes: %w", len(code), ErrTruncated)
	}
	if uint64(len(b.Cmdline)) > uint64(k.CmdlineSize) {
		return fmt.Errorf("command line of %d bytes, this kernel takes %d: %w", len(b.Cmdline), k.CmdlineSize, ErrLimit)
	}
	align := uint64(k.KernelAlignment)
	if k.Relocatable && (align == 0 || align&(align-1) != 0 || align > 1<<30) {
		return fmt.Errorf("kernel_alignment %#x: %w", align, ErrKernel)
	}
	var limit, initrdLimit uint64
	if k.XLoadFlags&linux.XCanBeAbove4G == 0 {
		limit, initrdLimit = fourGiB, uint64(k.InitrdAddrMax)+1
	}
	boot, err := NewBootParams(k.Header())
	if err != nil {
		return err
	}

	// The memory of init_size counts from the address at which the kernel
	// runs while it unpacks itself: where it is loaded, or pref_address when
	// it is loaded below that (boot.rst, init_size). So it is loaded at
	// pref_address or above, the lowest place there is, as firmware does.
	seg := Segment{Name: "kernel", Origin: b.Kernel.Origin, Data: code, MemSize: max(uint64(k.InitSize), uint64(len(code)))}
	at := k.PrefAddress
	if k.Relocatable {
		at, err = b.place(seg, Want{Align: align, Min: max(k.PrefAddress, x86MinAddress), Max: limit})
	} else {
		err = b.placeAt(seg, at)
	}
	if err != nil {
		return err
	}
	return b.x86(boot, at+x86Entry64, limit, initrdLimit)
}

// placeAt places a segment at a fixed address.
func (b *builder) placeAt(s Segment, at uint64) error {
	size, ok := roundUp(max(s.MemSize, uint64(len(s.Data))), b.page)
	if !ok || at%b.page != 0 || at+size < at {
		return fmt.Errorf("place %s at %#x+%#x: %w", s.Name, at, s.MemSize, ErrNoRoom)
	}
	if err := b.space.TakeAt(Range{at, at + size}); err != nil {
		return fmt.Errorf("place %s: %w", s.Name, err)
	}
	s.Phys = at
	return b.plan.add(s, b.page)
}

// vmlinuxX86 plans the direct start of an ELF kernel at the physical
// addresses of its program headers. Its entry is that of 64-bit mode
// (arch/x86/kernel/head_64.S, startup_64).
func (b *builder) vmlinuxX86() error {
	e, err := linux.ParseELF(b.Kernel.Data)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrKernel)
	}
	if e.Arch != string(b.plan.Arch) || !e.IsVmlinux() {
		return fmt.Errorf("ELF of machine %d and type %d: %w", e.Machine, e.Type, ErrKernel)
	}
	if len(b.Cmdline) > x86CmdlineSize {
		return fmt.Errorf("command line of %d bytes, a vmlinux takes %d: %w", len(b.Cmdline), x86CmdlineSize, ErrLimit)
	}
	entered := false
	n := 0
	for _, s := range e.Segments {
		if s.MemSize == 0 {
			continue
		}
		if n++; n > MaxSegments-3 {
			return fmt.Errorf("ELF with more than %d loadable segments: %w", MaxSegments-3, ErrKernel)
		}
		seg := Segment{Name: "kernel", Origin: b.Kernel.Origin, Data: elfData(e, s), MemSize: s.MemSize}
		if n > 1 {
			seg.Name = fmt.Sprintf("kernel.%d", n-1)
		}
		if err := b.placeAt(seg, s.Phys); err != nil {
			return fmt.Errorf("%w (an ELF kernel goes where its headers say; a bzImage goes anywhere)", err)
		}
		entered = entered || e.Entry >= s.Phys && e.Entry-s.Phys < s.FileSize
	}
	if !entered {
		return fmt.Errorf("entry %#x is in no segment: %w", e.Entry, ErrKernel)
	}
	boot, err := NewBootParams(nil)
	if err != nil {
		return err
	}
	return b.x86(boot, e.Entry, 0, 0)
}

func elfData(e *linux.ELF, s linux.ELFSegment) []byte {
	if s.FileSize == 0 {
		return nil
	}
	end := s.Offset + s.FileSize
	return e.Raw[s.Offset:end:end]
}

// x86 adds everything but the kernel. limit and initrdLimit are the addresses
// that must not be exceeded, 0 for none.
func (b *builder) x86(boot *BootParams, entry, limit, initrdLimit uint64) error {
	h, plan := b.host, b.plan
	if len(h.Map) == 0 {
		return fmt.Errorf("no memory map: %w", ErrHost)
	}
	memory := h.Map
	cmdline := b.Cmdline
	if b.opts.Crash {
		core, err := b.placeCoreHeader(Want{Min: x86MinAddress, Max: limit, TopDown: true})
		if err != nil {
			return err
		}
		memory = crashMap(h, core)
		if h.OldLowMemory {
			plan.note("the running kernel is older than 5.6 and may use the first megabyte, which the dump will not hold")
		}
		cmdline = joinCmdline(fmt.Sprintf("elfcorehdr=%#x", core.Start), cmdline)
		plan.HandOver.Cmdline = cmdline
		if most := le.Uint32(boot[bpCmdlineSize:]); most != 0 && uint64(len(cmdline)) > uint64(most) {
			return fmt.Errorf("command line of %d bytes with elfcorehdr=, this kernel takes %d: %w", len(cmdline), most, ErrLimit)
		}
	}
	boot.CopyMachine(h.BootParams)
	boot.SetRSDP(h.RSDP)

	var extra []SetupData
	if ext := boot.SetE820(memory); ext != nil {
		extra = append(extra, SetupData{SetupE820Ext, ext})
	}
	efi := b.efi()
	if efi != nil {
		extra = append(extra, SetupData{SetupEFI, encodeSetupEFI(efi)})
	}
	dtb, err := b.deviceTree()
	if err != nil {
		return err
	}
	if dtb != nil {
		extra = append(extra, SetupData{SetupDTB, dtb})
	}
	for _, sd := range h.SetupData {
		if sd.Type&setupIndirect == 0 && slices.Contains(b.opts.Preserve, sd.Type) {
			extra = append(extra, sd)
		}
	}
	seed, err := b.opts.seed(x86SeedSize)
	if err != nil {
		return err
	}
	extra = append(extra, SetupData{SetupRNGSeed, seed})

	// One segment holds boot_params, command line, EFI memory map and
	// setup_data, in this order.
	cmdlineOff := uint64(BootParamsSize)
	mapOff, _ := roundUp(cmdlineOff+uint64(len(cmdline))+1, 16)
	var efiMap []byte
	if efi != nil {
		efiMap = EncodeEFIMap(efi.RuntimeMap)
	}
	dataOff := mapOff + uint64(len(efiMap))
	size := dataOff + uint64(len(EncodeSetupData(0, extra)))

	initrd, err := b.placeInitrd(Want{Min: x86MinAddress, Max: initrdLimit, TopDown: true}, 2)
	if err != nil {
		return err
	}
	if initrd != nil {
		boot.SetInitrd(*initrd)
	}
	buf := make([]byte, size)
	at, err := b.place(Segment{Name: "boot_params", Data: buf, Private: true}, Want{Min: x86MinAddress, Max: limit, TopDown: true})
	if err != nil {
		return err
	}
	boot.SetCmdline(at + cmdlineOff)
	boot.SetSetupData(at + dataOff)
	if efi != nil {
		boot.SetEFI(efi.SystemTable, at+mapOff, uint64(len(efiMap)))
	}
	copy(buf, boot[:])
	copy(buf[cmdlineOff:], cmdline)
	copy(buf[mapOff:], efiMap)
	copy(buf[dataOff:], EncodeSetupData(at+dataOff, extra))

	tramp, err := b.place(Segment{Name: "trampoline", Data: TrampolineX86(0, 0, 0), MemSize: trampolineStack},
		Want{Min: x86MinAddress, Max: limit, TopDown: true})
	if err != nil {
		return err
	}
	plan.Segments[len(plan.Segments)-1].Data = TrampolineX86(tramp, at, entry)
	plan.Entry = tramp
	plan.HandOver.KernelEntry = entry
	plan.HandOver.BootParams = DecodeBootParams(boot, at, plan.read)
	return nil
}

// efi returns what to hand over of EFI, or nil.
func (b *builder) efi() *EFI {
	e := b.host.EFI
	switch {
	case e == nil:
		return nil
	case b.opts.NoEFI:
		b.plan.note("EFI runtime services are not handed over, as asked for")
		return nil
	case e.SystemTable == 0 || len(e.RuntimeMap) == 0:
		b.plan.note("the running kernel does not tell its EFI runtime map: no EFI runtime services in the next one")
		return nil
	}
	return e
}

// deviceTree returns the tree that an x86 kernel is to get, or nil. Few
// machines have one; that of the running kernel is not taken over, because
// the kernel finds what it was given in setup_data only.
func (b *builder) deviceTree() ([]byte, error) {
	if b.opts.DTB != nil {
		if _, err := fdt.Parse(b.opts.DTB); err != nil {
			return nil, fmt.Errorf("the given device tree: %w: %w", err, ErrDeviceTree)
		}
		return b.opts.DTB, nil
	}
	if b.DTB != nil {
		b.plan.note("the device tree of the image is left out: x86 machines are described by ACPI")
	}
	return nil, nil
}

// read returns size bytes at a physical address of the plan, or nil.
func (p *Plan) read(addr, size uint64) []byte {
	for i := range p.Segments {
		s := &p.Segments[i]
		if addr >= s.Phys && addr-s.Phys <= uint64(len(s.Data)) && size <= uint64(len(s.Data))-(addr-s.Phys) {
			return s.Data[addr-s.Phys:][:size:size]
		}
	}
	return nil
}

// joinCmdline joins two texts by a blank when there are two.
func joinCmdline(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

func sortE820(m []E820Entry) {
	slices.SortStableFunc(m, func(a, b E820Entry) int {
		if a.Addr < b.Addr {
			return -1
		} else if a.Addr > b.Addr {
			return 1
		}
		return 0
	})
}
