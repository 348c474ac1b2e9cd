// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/peelboot/peel/efi/capture"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
)

// Captured makes a plan of what an EFI stub has prepared: its memory as
// segments at the same addresses, and the page of facts that it wrote for the
// kernel (boot_params, device tree) with those of the stub's firmware, which
// is gone, replaced by those of the machine. The plan has passed Validate;
// its bytes are views of the captured memory and last as long as that.
//
// Of the options, Crash, NoEFI, Append, InitrdTail, Preserve and Rand count,
// and Min and Max as bounds of all of the plan. A plan for the crash region
// needs a stub that was shown no other memory.
func Captured(s *capture.State, h *Host, o Options) (*Plan, error) {
	if h.Arch != image.ArchUnknown && h.Arch != s.Arch {
		return nil, fmt.Errorf("boot: captured state for %s, machine is %s: %w", s.Arch, h.Arch, ErrArch)
	}
	b, err := newBuilder(&image.Payload{Arch: s.Arch}, h, o, s.Arch, image.KindPE)
	if err != nil {
		return nil, fmt.Errorf("boot: captured state: %w", err)
	}
	if strings.IndexByte(o.Append, 0) >= 0 {
		return nil, fmt.Errorf("boot: captured state: NUL in what is added to the command line: %w", ErrLimit)
	}
	b.plan.HandOver.KernelEntry = s.Entry
	c := &captured{b, s}
	if err := c.segments(MaxSegments - c.own()); err != nil {
		return nil, fmt.Errorf("boot: captured state: %w", err)
	}
	if b.plan.read(s.Entry, 4) == nil {
		return nil, fmt.Errorf("boot: captured state: entry %#x is in no memory that the stub has filled: %w", s.Entry, ErrInvalid)
	}
	switch s.Arch {
	case image.ArchX86_64:
		err = c.x86()
	case image.ArchARM64:
		err = c.arm64()
	default:
		err = fmt.Errorf("%q: %w", s.Arch, ErrArch)
	}
	if err != nil {
		return nil, fmt.Errorf("boot: captured state: %w", err)
	}
	b.plan.Notes = append(b.plan.Notes, s.Notes...)
	return b.plan.finish(h)
}

type captured struct {
	*builder
	state *capture.State
}

// own is how many segments a plan of captured state gets from here:
// boot_params or device tree, trampoline, ELF core header, RAM disk.
func (c *captured) own() int {
	n := 2
	if c.opts.Crash {
		n++
	}
	if len(c.opts.InitrdTail) > 0 {
		n++
	}
	return n
}

// reclaim is the type of memory that holds the tables of the stub's firmware
// and what was put into them; nothing of the plan refers to those.
const reclaim = "ACPIReclaim"

// segments makes at most limit segments of the captured runs.
func (c *captured) segments(limit int) error {
	var runs []Range
	for _, r := range c.state.Runs {
		if r.Type == reclaim && !(c.state.Argument >= r.Phys && c.state.Argument-r.Phys < r.Size) {
			continue
		}
		start, end := r.Phys&^(c.page-1), r.Phys+r.Size
		var ok bool
		if end, ok = roundUp(end, c.page); !ok || end <= start {
			return fmt.Errorf("run %#x+%#x: %w", r.Phys, r.Size, ErrInvalid)
		}
		runs = append(runs, Range{start, end})
	}
	runs = normal(runs)
	free := c.space.Free()
	sameRAM := func(a, b Range) bool {
		for _, f := range free {
			if f.Contains(Range{a.Start, b.End}) {
				return true
			}
		}
		return false
	}
	for len(runs) > limit {
		best := -1
		for i := range len(runs) - 1 {
			if sameRAM(runs[i], runs[i+1]) && (best < 0 || runs[i+1].Start-runs[i].End < runs[best+1].Start-runs[best].End) {
				best = i
			}
		}
		if best < 0 {
			return fmt.Errorf("%d runs of memory in as many parts of RAM, at most %d segments: %w", len(runs), limit, ErrNoRoom)
		}
		runs[best].End = runs[best+1].End
		runs = append(runs[:best+1], runs[best+2:]...)
	}
	for _, r := range runs {
		if err := c.space.TakeAt(r); err != nil {
			return fmt.Errorf("memory of the stub: %w", err)
		}
		name := "captured"
		if c.state.Entry >= r.Start && c.state.Entry < r.End {
			name = "kernel"
		}
		// A kernel that its stub has unpacked is relocated already: a digest
		// would tell where it will run.
		if err := c.plan.add(Segment{Name: name, Phys: r.Start, MemSize: r.Size(), Data: c.data(r), Private: true}, c.page); err != nil {
			return err
		}
	}
	return nil
}

// data returns the contents of a range: a view where all memory is there.
func (c *captured) data(r Range) []byte {
	if r.End <= uint64(len(c.state.RAM)) {
		return c.state.RAM[r.Start:r.End:r.End]
	}
	out := make([]byte, r.Size())
	for _, run := range c.state.Runs {
		if run.Phys >= r.Start && run.Phys < r.End {
			copy(out[run.Phys-r.Start:], run.Data)
		}
	}
	return out
}

// text returns the string at a physical address, at most limit bytes long.
func (c *captured) text(addr uint64, limit int) (string, error) {
	var b []byte
	for i := range c.plan.Segments {
		if seg := &c.plan.Segments[i]; addr >= seg.Phys && addr-seg.Phys < uint64(len(seg.Data)) {
			b = seg.Data[addr-seg.Phys:]
			b = b[:min(len(b), limit+1)]
		}
	}
	s, _, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return "", fmt.Errorf("command line at %#x does not end within %d bytes: %w", addr, limit, ErrInvalid)
	}
	return string(s), nil
}

// maxCmdlineX86 is more than any x86 kernel takes.
const maxCmdlineX86 = 64 << 10

// x86 checks boot_params as the stub left it and makes a new page of it
// (Documentation/arch/x86/boot.rst and zero-page.rst). Newer stubs write no
// magic number into it.
func (c *captured) x86() error {
	h, plan := c.host, c.plan
	if len(h.Map) == 0 {
		return fmt.Errorf("no memory map: %w", ErrHost)
	}
	old := c.state.Read(c.state.Argument, BootParamsSize)
	if old == nil {
		return fmt.Errorf("boot_params at %#x is not all there: %w", c.state.Argument, ErrInvalid)
	}
	boot := &BootParams{}
	copy(boot[:], old)
	switch {
	case string(boot[bpEFIInfo:bpEFIInfo+4]) != "EL64":
		return fmt.Errorf("boot_params at %#x without efi_info: %w", c.state.Argument, ErrInvalid)
	case boot[bpE820Entries] == 0:
		return fmt.Errorf("boot_params at %#x without a memory map: %w", c.state.Argument, ErrInvalid)
	case boot[bpLoaderType] != 0x21:
		return fmt.Errorf("boot_params at %#x of loader type %#x, the stub is 0x21: %w", c.state.Argument, boot[bpLoaderType], ErrInvalid)
	}
	cmdlineAt := uint64(le.Uint32(boot[bpCmdline:])) | uint64(le.Uint32(boot[bpExtCmdline:]))<<32
	if cmdlineAt != 0 {
		line, err := c.text(cmdlineAt, maxCmdlineX86)
		if err != nil {
			return err
		}
		plan.HandOver.Cmdline = line
	}
	cmdline, memory := plan.HandOver.Cmdline, h.Map
	if c.opts.Crash {
		core, err := c.placeCoreHeader(Want{Min: x86MinAddress, TopDown: true})
		if err != nil {
			return err
		}
		memory = crashMap(h, core)
		cmdline = joinCmdline(fmt.Sprintf("elfcorehdr=%#x", core.Start), cmdline)
	}
	cmdline = joinCmdline(cmdline, c.opts.Append)
	longer := len(cmdline) != len(plan.HandOver.Cmdline)
	if longer {
		// Stubs that write no setup header belong to kernels that take as much.
		most := uint64(le.Uint32(boot[bpCmdlineSize:]))
		if most == 0 {
			most = x86CmdlineSize
		}
		if uint64(len(cmdline)) > most {
			return fmt.Errorf("command line of %d bytes with what is added, this kernel takes %d: %w", len(cmdline), most, ErrLimit)
		}
		plan.HandOver.Cmdline = cmdline
	}
	at := uint64(le.Uint32(boot[bpRamdisk:])) | uint64(le.Uint32(boot[bpExtRamdisk:]))<<32
	size := uint64(le.Uint32(boot[bpRamdiskSize:])) | uint64(le.Uint32(boot[bpExtRamdiskSize:]))<<32
	if size != 0 {
		if plan.read(at, size) == nil {
			return fmt.Errorf("initrd %#x+%#x is not all there: %w", at, size, ErrInvalid)
		}
		plan.HandOver.Initrd = &Range{at, at + size}
	}
	where := Want{Min: x86MinAddress, Max: fourGiB, TopDown: true}
	if c.opts.Crash {
		where.Max = 0 // the region may lie above
	}
	if err := c.joinInitrd(where); err != nil {
		return err
	}
	if r := plan.HandOver.Initrd; r != nil {
		boot.SetInitrd(*r)
	}

	boot.CopyMachine(h.BootParams)
	boot.SetRSDP(h.RSDP)
	boot.ClearEFI()
	extra, err := c.setupData(le.Uint64(boot[bpSetupData:]))
	if err != nil {
		return err
	}
	if ext := boot.SetE820(memory); ext != nil {
		extra = append(extra, SetupData{SetupE820Ext, ext})
	}
	var efiMap []byte
	efi := c.efi()
	if efi != nil {
		extra = append(extra, SetupData{SetupEFI, encodeSetupEFI(efi)})
		efiMap = EncodeEFIMap(efi.RuntimeMap)
	}
	seed, err := c.opts.seed(x86SeedSize)
	if err != nil {
		return err
	}
	extra = append(extra, SetupData{SetupRNGSeed, seed})

	mapOff := uint64(BootParamsSize)
	dataOff := mapOff + uint64(len(efiMap))
	lineOff := dataOff + uint64(len(EncodeSetupData(0, extra)))
	size = lineOff
	if longer {
		size += uint64(len(cmdline)) + 1
	}
	buf := make([]byte, size)
	page, err := c.place(Segment{Name: "boot_params", Data: buf, Private: true}, where)
	if err != nil {
		return err
	}
	if efi != nil {
		boot.SetEFI(efi.SystemTable, page+mapOff, uint64(len(efiMap)))
	}
	boot.SetSetupData(page + dataOff)
	if longer {
		boot.SetCmdline(page + lineOff)
		copy(buf[lineOff:], cmdline)
	}
	copy(buf, boot[:])
	copy(buf[mapOff:], efiMap)
	copy(buf[dataOff:], EncodeSetupData(page+dataOff, extra))

	tramp, err := c.place(Segment{Name: "trampoline", Data: TrampolineX86(0, 0, 0), MemSize: trampolineStack}, where)
	if err != nil {
		return err
	}
	plan.Segments[len(plan.Segments)-1].Data = TrampolineX86(tramp, page, c.state.Entry)
	plan.Entry = tramp
	plan.HandOver.BootParams = DecodeBootParams(boot, page, plan.read)
	return nil
}

// maxSetupData bounds the list that a stub leaves.
const (
	maxSetupData     = 64
	maxSetupDataSize = 1 << 20
)

// setupData reads what the stub leaves for the kernel, less what is replaced.
func (c *captured) setupData(at uint64) ([]SetupData, error) {
	var out []SetupData
	var total uint64
	for n := 0; at != 0; n++ {
		head := c.state.Read(at, setupHeaderSize)
		if head == nil || n == maxSetupData {
			return nil, fmt.Errorf("setup_data at %#x, entry %d: %w", at, n, ErrInvalid)
		}
		typ, size := le.Uint32(head[8:]), uint64(le.Uint32(head[12:]))
		data := c.state.Read(at+setupHeaderSize, size)
		if total += size; data == nil || total > maxSetupDataSize {
			return nil, fmt.Errorf("setup_data at %#x of %#x bytes: %w", at, size, ErrInvalid)
		}
		switch typ {
		case SetupE820Ext, SetupEFI, SetupRNGSeed:
		default:
			out = append(out, SetupData{typ, data})
		}
		at = le.Uint64(head)
	}
	for _, sd := range c.host.SetupData {
		for _, want := range c.opts.Preserve {
			if sd.Type == want && sd.Type&setupIndirect == 0 {
				out = append(out, sd)
			}
		}
	}
	return out, nil
}

// initrdTable is LINUX_EFI_INITRD_MEDIA_GUID, the configuration table by
// which newer stubs tell where the initrd is: base and size, 64 bits each.
const initrdTable = "5568e427-68fc-4f3d-ac74-ca555231cc68"

// arm64 makes a new device tree of the stub's: its EFI system table is gone,
// so the tree gets the machine's own, or on a machine without UEFI the
// machine's memory (Documentation/arch/arm/uefi.rst).
func (c *captured) arm64() error {
	head := c.state.Read(c.state.Argument, 8)
	if head == nil || !bytes.HasPrefix(head, []byte{0xd0, 0x0d, 0xfe, 0xed}) {
		return fmt.Errorf("no device tree at %#x: %w", c.state.Argument, ErrInvalid)
	}
	size := uint64(head[4])<<24 | uint64(head[5])<<16 | uint64(head[6])<<8 | uint64(head[7])
	blob := c.state.Read(c.state.Argument, size)
	if blob == nil || size > maxDTBSize {
		return fmt.Errorf("device tree %#x+%#x is not all there: %w", c.state.Argument, size, ErrInvalid)
	}
	tree, err := fdt.Parse(blob)
	if err != nil {
		return fmt.Errorf("device tree of the stub: %w: %w", err, ErrInvalid)
	}
	if c.host.FDT == nil {
		return fmt.Errorf("the running kernel has no device tree to compare with (/sys/firmware/fdt): %w", ErrHost)
	}
	host, err := fdt.Parse(c.host.FDT)
	if err != nil {
		return fmt.Errorf("device tree of the running kernel: %w: %w", err, ErrDeviceTree)
	}
	ch := chosen{}
	n := tree.Chosen()
	if line, err := n.Text(propBootargs); err == nil {
		ch.cmdline = line
	}
	if c.opts.Append != "" {
		if ch.cmdline = joinCmdline(ch.cmdline, c.opts.Append); len(ch.cmdline) > arm64CmdlineSize {
			return fmt.Errorf("command line of %d bytes with what is added, arm64 kernels take %d: %w", len(ch.cmdline), arm64CmdlineSize, ErrLimit)
		}
	}
	c.plan.HandOver.Cmdline = ch.cmdline
	if c.opts.Crash {
		core, err := c.placeCoreHeader(Want{Max: arm64MaxAddress, TopDown: true})
		if err != nil {
			return err
		}
		ch.core, ch.usable = &core, crashUsable(c.host)
	}
	if start, err1 := n.U64(propInitrdStart); err1 == nil {
		if end, err2 := n.U64(propInitrdEnd); err2 == nil && end > start {
			ch.initrd = &Range{start, end}
		}
	}
	if at, ok := c.state.Tables[initrdTable]; ok {
		t := c.state.Read(at, 16)
		if t == nil || le.Uint64(t)+le.Uint64(t[8:]) < le.Uint64(t) {
			return fmt.Errorf("initrd table at %#x: %w", at, ErrInvalid)
		}
		if le.Uint64(t[8:]) != 0 {
			ch.initrd = &Range{le.Uint64(t), le.Uint64(t) + le.Uint64(t[8:])}
		}
	}
	if r := ch.initrd; r != nil && c.plan.read(r.Start, r.Size()) == nil {
		return fmt.Errorf("initrd %v is not all there: %w", *r, ErrInvalid)
	}
	c.plan.HandOver.Initrd = ch.initrd
	if err := c.joinInitrd(Want{Max: arm64MaxAddress, TopDown: true}); err != nil {
		return err
	}
	ch.initrd = c.plan.HandOver.Initrd

	dropUEFI(n)
	var reserve []fdt.Reservation
	for _, r := range tree.Reserve {
		double := false
		for _, o := range host.Reserve {
			double = double || o == r
		}
		if !double {
			reserve = append(reserve, r)
		}
	}
	tree.Reserve = reserve
	if err := adoptMachine(tree, host); err != nil {
		return fmt.Errorf("%w: %w", err, ErrDeviceTree)
	}
	dtb, err := c.addDeviceTree(tree, ch, Want{Max: arm64MaxAddress, Align: twoMiB, TopDown: true})
	if err != nil {
		return err
	}
	tramp, err := c.place(Segment{Name: "trampoline", Data: TrampolineARM64(dtb, c.state.Entry)}, Want{Max: arm64MaxAddress, TopDown: true})
	if err != nil {
		return err
	}
	c.plan.Entry = tramp
	return nil
}

// dropUEFI takes out where the stub's firmware was.
func dropUEFI(n *fdt.Node) {
	var drop []string
	for _, p := range n.Props {
		if len(p.Name) >= len(propUEFI) && p.Name[:len(propUEFI)] == propUEFI {
			drop = append(drop, p.Name)
		}
	}
	for _, name := range drop {
		n.Delete(name)
	}
}
