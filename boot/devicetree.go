// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peelboot/peel/image/fdt"
)

// Properties of /chosen (Documentation/devicetree/bindings and dt-schema
// chosen.yaml; drivers/of/kexec.c; Documentation/arch/arm/uefi.rst).
const (
	propBootargs    = "bootargs"
	propInitrdStart = "linux,initrd-start"
	propInitrdEnd   = "linux,initrd-end"
	propKASLRSeed   = "kaslr-seed"
	propRNGSeed     = "rng-seed"
	propUsable      = "linux,usable-memory-range"
	propCore        = "linux,elfcorehdr"
	propIMA         = "linux,ima-kexec-buffer"
	propKexec       = "linux,booted-from-kexec"
	propUEFI        = "linux,uefi-"
	propSystemTable = "linux,uefi-system-table"
	propXen         = "xen,"
)

// stale are the properties of /chosen that describe how the running kernel
// was started, not the machine. A stale initrd would win over the right one;
// the memory behind the buffers of IMA and KHO has been put to other use.
var stale = [...]string{
	propBootargs, propInitrdStart, propInitrdEnd, propKASLRSeed, propRNGSeed, propUsable, propCore,
	propIMA, "linux,kho-fdt", "linux,kho-scratch", "linux,crashkernel-base",
	"linux,crashkernel-size", "bootargs-append",
}

// Sizes of the seeds in bytes (drivers/of/kexec.c).
const (
	kaslrSeedSize = 8
	rngSeedSize   = 128
)

// maxDTBSize is the most that arm64 maps (booting.rst, "Setup the device
// tree"); riscv64 maps no less.
const maxDTBSize = 2 << 20

// baseTree returns the device tree for the next kernel before /chosen is
// edited: the given one, the payload's or the running kernel's, with the
// payload's overlays.
func (b *builder) baseTree() (*fdt.Tree, error) {
	var host *fdt.Tree
	if b.host.FDT != nil {
		var err error
		if host, err = fdt.Parse(b.host.FDT); err != nil {
			return nil, fmt.Errorf("device tree of the running kernel: %w: %w", err, ErrDeviceTree)
		}
	}
	given, what := b.opts.DTB, "the given device tree"
	if given == nil && b.DTB != nil {
		given, what = b.DTB.Data, "the device tree of the image"
	}
	tree := host
	if given != nil {
		var err error
		if tree, err = fdt.Parse(given); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", what, err, ErrDeviceTree)
		}
		b.plan.note("%s is used instead of that of the running kernel", what)
	}
	if tree == nil {
		return nil, fmt.Errorf("the running kernel has no device tree to hand on (/sys/firmware/fdt): %w", ErrHost)
	}
	for i, o := range b.DTBOverlays {
		over, err := fdt.Parse(o.Data)
		if err == nil {
			err = tree.Apply(over)
		}
		if err != nil {
			return nil, fmt.Errorf("overlay %d, %s: %w: %w", i, o.Name, err, ErrDeviceTree)
		}
	}
	if given != nil && host != nil {
		if err := adoptMachine(tree, host); err != nil {
			return nil, fmt.Errorf("%w: %w", err, ErrDeviceTree)
		}
	}
	return tree, nil
}

// adoptMachine brings into a tree that no boot loader has seen what a boot
// loader puts in: where memory is, and how to reach UEFI and a hypervisor.
// Where there is UEFI, its memory map counts and memory nodes must be absent
// (drivers/firmware/efi/fdtparams.c, efi-init.c).
func adoptMachine(tree, host *fdt.Tree) error {
	from, _ := host.Root.Child("chosen")
	if from == nil {
		from = &fdt.Node{}
	}
	to := tree.Chosen()
	for _, p := range from.Props {
		switch _, have := to.Get(p.Name); {
		case strings.HasPrefix(p.Name, propUEFI), strings.HasPrefix(p.Name, propXen):
			to.Set(p.Name, p.Value)
		case p.Name == "stdout-path" && !have:
			// An alias or path of another tree may not exist in this one.
			if path, err := from.Text(p.Name); err == nil {
				path, _, _ = strings.Cut(path, ":")
				if _, ok := tree.Lookup(path); ok {
					to.Set(p.Name, p.Value)
				}
			}
		}
	}
	tree.BootCPU = host.BootCPU
	if _, ok := from.Get(propSystemTable); ok {
		tree.Reserve = nil
		return tree.SetMemory(nil)
	}
	mem, err := host.Memory()
	if err != nil {
		return err
	}
	if len(mem) != 0 {
		if err := tree.SetMemory(mem); err != nil {
			return err
		}
	}
	tree.Reserve = append(tree.Reserve, host.Reserve...)
	return nil
}

// chosen is what goes into /chosen.
type chosen struct {
	cmdline string
	initrd  *Range
	core    *Range  // ELF core header
	usable  []Range // memory of a crash kernel
}

// editChosen replaces in /chosen what was for the running kernel by what is
// for the next one. The rest, EFI's entries and stdout-path among it, stays.
func editChosen(tree *fdt.Tree, c chosen, page uint64, o *Options) error {
	n := tree.Chosen()
	dropReservations(tree, n, page)
	for _, name := range stale {
		n.Delete(name)
	}
	if c.cmdline != "" {
		n.SetText(propBootargs, c.cmdline)
	}
	if c.initrd != nil {
		n.SetU64(propInitrdStart, c.initrd.Start)
		n.SetU64(propInitrdEnd, c.initrd.End)
	}
	for _, s := range []struct {
		name string
		size int
	}{{propKASLRSeed, kaslrSeedSize}, {propRNGSeed, rngSeedSize}} {
		seed, err := o.seed(s.size)
		if err != nil {
			return err
		}
		n.Set(s.name, seed)
	}
	n.Set(propKexec, nil)
	if c.core == nil {
		return nil
	}
	// The crash kernel must not write over the header before it is read.
	tree.Reserve = append(tree.Reserve, fdt.Reservation{Address: c.core.Start, Size: c.core.Size()})
	cells, err := tree.Root.Cells()
	if err != nil {
		return err
	}
	for _, p := range []struct {
		name   string
		ranges []Range
	}{{propCore, []Range{*c.core}}, {propUsable, c.usable}} {
		var regions []fdt.Region
		for _, r := range p.ranges {
			regions = append(regions, fdt.Region{Address: r.Start, Size: r.Size()})
		}
		v, err := cells.Encode(regions...)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		n.Set(p.name, v)
	}
	return nil
}

// dropReservations removes the memory reservations of the running kernel's
// own initrd, ELF core header and IMA buffer, which boot loaders and kexec add
// (drivers/of/kexec.c). An initrd may be reserved up to the end of its page.
func dropReservations(tree *fdt.Tree, n *fdt.Node, page uint64) {
	var drop []fdt.Region
	start, err1 := n.U64(propInitrdStart)
	end, err2 := n.U64(propInitrdEnd)
	if err1 == nil && err2 == nil && end > start {
		drop = append(drop, fdt.Region{Address: start, Size: end - start})
		if size, ok := roundUp(end-start, page); ok {
			drop = append(drop, fdt.Region{Address: start, Size: size})
		}
	}
	if cells, err := tree.Root.Cells(); err == nil {
		for _, name := range [...]string{propCore, propIMA} {
			v, _ := n.Get(name)
			if regions, err := cells.Decode(v); err == nil {
				drop = append(drop, regions...)
			}
		}
	}
	var keep []fdt.Reservation
	for _, r := range tree.Reserve {
		if !slices.Contains(drop, fdt.Region(r)) {
			keep = append(keep, r)
		}
	}
	tree.Reserve = keep
}

// ChosenProperty is a property of /chosen for people.
type ChosenProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// DeviceTreeInfo is a device tree for people.
type DeviceTreeInfo struct {
	Address uint64           `json:"address"`
	Size    uint64           `json:"size"`
	Model   string           `json:"model,omitempty"`
	Chosen  []ChosenProperty `json:"chosen"`
	Memory  []Range          `json:"memory,omitempty"`
	Reserve []Range          `json:"reserve,omitempty"`
}

// DecodeDeviceTree decodes the tree at address. Seeds are not shown.
func DecodeDeviceTree(dtb []byte, address uint64) (*DeviceTreeInfo, error) {
	tree, err := fdt.Parse(dtb)
	if err != nil {
		return nil, err
	}
	i := &DeviceTreeInfo{Address: address, Size: uint64(len(dtb))}
	i.Model, _ = tree.Root.Text("model")
	if n, ok := tree.Root.Child("chosen"); ok {
		for _, p := range n.Props {
			i.Chosen = append(i.Chosen, ChosenProperty{p.Name, chosenText(n, p)})
		}
	}
	mem, err := tree.Memory()
	if err != nil {
		return nil, err
	}
	for _, r := range mem {
		i.Memory = append(i.Memory, Range{r.Address, r.Address + r.Size})
	}
	for _, r := range tree.Reserve {
		i.Reserve = append(i.Reserve, Range{r.Address, r.Address + r.Size})
	}
	return i, nil
}

func chosenText(n *fdt.Node, p fdt.Property) string {
	switch p.Name {
	case propKASLRSeed, propRNGSeed:
		return fmt.Sprintf("(%d bytes)", len(p.Value))
	case propBootargs, "stdout-path", "linux,uefi-stub-kern-ver":
		if s, err := n.Text(p.Name); err == nil {
			return s
		}
	}
	if v, err := n.U64(p.Name); err == nil {
		return fmt.Sprintf("%#x", v)
	}
	return fmt.Sprintf("%x", p.Value)
}

func (i *DeviceTreeInfo) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "device tree at %#x, %#x bytes\n", i.Address, i.Size)
	for _, p := range i.Chosen {
		fmt.Fprintf(&b, "  chosen %s = %s\n", p.Name, p.Value)
	}
	for _, r := range i.Memory {
		fmt.Fprintf(&b, "  memory %v\n", r)
	}
	for _, r := range i.Reserve {
		fmt.Fprintf(&b, "  reserved %v\n", r)
	}
	return b.String()
}

// addDeviceTree edits and places the tree and returns its address.
func (b *builder) addDeviceTree(tree *fdt.Tree, c chosen, w Want) (uint64, error) {
	if err := editChosen(tree, c, b.page, &b.opts); err != nil {
		return 0, fmt.Errorf("device tree: %w", err)
	}
	dtb, err := tree.Marshal()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", err, ErrDeviceTree)
	}
	if len(dtb) > maxDTBSize {
		return 0, fmt.Errorf("device tree of %#x bytes, at most %#x: %w", len(dtb), maxDTBSize, ErrLimit)
	}
	at, err := b.place(Segment{Name: "dtb", Data: dtb, Private: true}, w)
	if err != nil {
		return 0, err
	}
	b.plan.HandOver.DeviceTree, err = DecodeDeviceTree(dtb, at)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", err, ErrDeviceTree)
	}
	return at, nil
}
