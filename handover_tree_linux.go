// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"cmp"
	"fmt"
	"path"
	"slices"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/cpio"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/measure"
)

// Properties of a TPM's node that tell where the firmware's event log lies:
// u64 physical address and u32 size in bytes, big endian
// (drivers/char/tpm/eventlog/of.c).
const (
	propLogBase = "linux,sml-base"
	propLogSize = "linux,sml-size"
)

// tpmCompatible reports whether a node is a TPM that Linux has a driver for
// (drivers/char/tpm: tpm_tis.c, tpm_tis_spi_main.c, tpm_tis_i2c.c,
// tpm_tis_synquacer.c, tpm_ftpm_tee.c).
func tpmCompatible(n *fdt.Node) bool {
	list, err := n.Texts("compatible")
	return err == nil && slices.ContainsFunc(list, func(s string) bool {
		switch s {
		case "tcg,tpm-tis-mmio", "tcg,tpm_tis-spi", "tcg,tpm-tis-i2c", "infineon,slb9670", "infineon,slb9673", "st,st33htpm-spi",
			"google,cr50", "nuvoton,npct75x", "socionext,synquacer-tpm-mmio", "microsoft,ftpm":
			return true
		}
		return false
	})
}

// eventLog returns the log that AppendRAMDisk was given, or nil. An image may
// have a file of that name in its own RAM disk; it does not count.
func eventLog(p *image.Payload) []byte {
	if len(p.Initrds) == 0 {
		return nil
	}
	last := p.Initrds[len(p.Initrds)-1]
	if last.Outside || "/"+last.Name != path.Dir(measure.HandoverPath) || !cpio.Is(last.Data) {
		return nil
	}
	for r := cpio.NewReader(last.Data); ; {
		e, err := r.Next()
		if err != nil {
			return nil
		}
		if path.Clean("/"+e.Name) == measure.HandoverPath {
			return e.Data
		}
	}
}

// handOverLog puts the event log that goes with the RAM disk also where Linux
// looks for the firmware's on a machine that a device tree describes: into
// memory of its own, which the TPM's node names and the tree reserves. Its
// driver then shows the log as binary_bios_measurements. Where it cannot, the
// plan stays as it is, with a note that says why.
func handOverLog(p *boot.Plan, payload *image.Payload, h *boot.Host, o boot.Options) {
	log := eventLog(payload)
	at := slices.IndexFunc(p.Segments, func(s boot.Segment) bool { return s.Name == "dtb" })
	if log == nil || at < 0 || p.Crash {
		return
	}
	changed, err := withLog(p, at, log, h, o)
	switch {
	case err != nil:
		p.Notes = append(p.Notes, fmt.Sprintf("the event log is in the RAM disk only: %v", err))
	case changed != nil:
		*p = *changed
	}
}

// withLog returns a copy of a plan, whose segment at is the device tree, with
// the log; nil when the tree has no TPM.
func withLog(p *boot.Plan, at int, log []byte, h *boot.Host, o boot.Options) (*boot.Plan, error) {
	tree, err := fdt.Parse(p.Segments[at].Data)
	if err != nil {
		return nil, err
	}
	var tpms []*fdt.Node
	err = tree.Walk(func(_ string, n *fdt.Node) error {
		if tpmCompatible(n) {
			tpms = append(tpms, n)
		}
		return nil
	})
	if err != nil || len(tpms) == 0 {
		return nil, err
	}
	if len(tpms) > 1 {
		return nil, fmt.Errorf("the device tree has %d TPMs", len(tpms))
	}
	page := max(h.PageSize, 4096)
	size := (uint64(len(log)) + page - 1) &^ (page - 1)
	if size == 0 || size > 1<<30 {
		return nil, fmt.Errorf("the log has 0x%x bytes", len(log))
	}
	space := boot.NewSpace(h.Usable)
	for _, s := range p.Segments {
		space.Remove(s.Range())
	}
	// The tree grows by the properties below, by far less than a page.
	old := p.Segments[at]
	space.Remove(boot.Range{Start: old.Phys, End: old.Phys + (uint64(len(old.Data))+2*page-1)&^(page-1)})
	phys, err := space.Take(boot.Want{Size: size, Align: page, Min: o.Min, Max: o.Max, TopDown: true})
	if err != nil {
		return nil, err
	}

	n := tpms[0]
	// The log of the kernel before is not needed any more.
	if base, err := n.U64(propLogBase); err == nil {
		tree.Reserve = slices.DeleteFunc(tree.Reserve, func(r fdt.Reservation) bool { return r.Address == base })
	}
	n.SetU64(propLogBase, phys)
	n.SetU32(propLogSize, uint32(len(log)))
	tree.Reserve = append(tree.Reserve, fdt.Reservation{Address: phys, Size: size})
	dtb, err := tree.Marshal()
	if err != nil {
		return nil, err
	}
	out := *p
	out.Segments = slices.Clone(p.Segments)
	s := &out.Segments[at]
	s.Data = dtb
	s.MemSize = max(s.MemSize, (uint64(len(dtb))+page-1)&^(page-1))
	if out.HandOver.DeviceTree, err = boot.DecodeDeviceTree(dtb, s.Phys); err != nil {
		return nil, err
	}
	out.Segments = append(out.Segments, boot.Segment{Name: "tpm-event-log", Phys: phys, MemSize: size, Align: page, Data: log})
	slices.SortStableFunc(out.Segments, func(a, b boot.Segment) int { return cmp.Compare(a.Phys, b.Phys) })
	if err := out.Validate(h); err != nil {
		return nil, err
	}
	out.Notes = append(slices.Clone(p.Notes), fmt.Sprintf("the event log is at %#x, where the device tree's %s says", phys, n.Name))
	return &out, nil
}
