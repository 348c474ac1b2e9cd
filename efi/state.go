// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"fmt"

	"github.com/peelboot/peel/efi/capture"
	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/efi/process"
)

// kept tells types of memory whose contents a kernel may rely on after boot
// services: what the loader allocated, and tables that are for the kernel.
func kept(t firmware.MemoryType) bool {
	return t == firmware.LoaderCode || t == firmware.LoaderData || t == firmware.ACPIReclaim || t >= 0x70000000
}

// capture ends the guest and takes what it has prepared.
func (g *guest) capture(entry uint64) (*capture.State, error) {
	g.unmark()
	used, err := g.p.Used()
	if err != nil {
		return nil, err
	}
	st := &capture.State{
		Arch: g.arch, Entry: entry, Argument: g.p.CPU().HandOver(),
		SystemTable: g.fw.SystemTable(), Tables: map[string]uint64{}, Console: g.fw.Console(),
		Stats: capture.Stats{Calls: g.fw.Calls(), Emulated: g.emulated, Stops: g.p.Stops(), Memory: used, Isolation: g.p.Isolation()},
	}
	st.Notes = append(append(st.Notes, g.o.Tables.Notes...), g.fw.Notes()...)
	g.p.Stop()
	populated, err := g.p.Populated()
	if err != nil {
		return nil, err
	}
	for _, r := range g.fw.Map() {
		st.Map = append(st.Map, capture.Region{Start: r.Start, Size: r.Size, Type: uint32(r.Type), Name: r.Type.String()})
	}
	for gd, at := range g.fw.Tables() {
		st.Tables[gd.String()] = at
	}
	for _, v := range g.fw.Written() {
		st.Variables = append(st.Variables, capture.Variable{Name: v.Name, GUID: v.GUID.String(), Attributes: v.Attributes, Data: v.Data})
	}
	mem := g.p.Memory()
	st.RAM = mem
	for _, r := range g.wanted(entry, st) {
		for _, q := range populated {
			start, end := max(r.Start, q.Start), min(r.End(), q.End())
			if start >= end {
				continue
			}
			st.Runs = append(st.Runs, capture.Run{Phys: start, Type: r.Type.String(), Data: mem[start:end:end], Size: end - start})
		}
	}
	if st.Read(entry, 4) == nil {
		return nil, fmt.Errorf("%w: entry %#x is not in memory that the image has filled (%s)", ErrHandOver, entry, registers(g.p.CPU()))
	}
	if st.Read(st.Argument, 8) == nil {
		return nil, fmt.Errorf("%w: argument %#x of the entry %#x is not in memory that the image has filled", ErrHandOver, st.Argument, entry)
	}
	return st, nil
}

// wanted returns the regions that are kept, without the images when the
// kernel starts outside of all of them: it was unpacked or copied out of
// them, and needs them no more.
func (g *guest) wanted(entry uint64, st *capture.State) []firmware.Region {
	images := g.fw.Images()
	for _, i := range images {
		if entry >= i.Start && entry < i.End() {
			st.Notes = append(st.Notes, fmt.Sprintf("the kernel starts inside of its image at %#x", i.Start))
			images = nil
			break
		}
	}
	var out []firmware.Region
	for _, r := range g.fw.Map() {
		if !kept(r.Type) {
			continue
		}
		parts := []firmware.Region{r}
		for _, i := range images {
			var next []firmware.Region
			for _, p := range parts {
				if i.Start >= p.End() || i.End() <= p.Start {
					next = append(next, p)
					continue
				}
				if p.Start < i.Start {
					next = append(next, firmware.Region{Start: p.Start, Size: i.Start - p.Start, Type: p.Type})
				}
				if i.End() < p.End() {
					next = append(next, firmware.Region{Start: i.End(), Size: p.End() - i.End(), Type: p.Type})
				}
			}
			parts = next
		}
		out = append(out, parts...)
	}
	return out
}

func registers(c *process.CPU) string {
	s := ""
	for _, r := range c.Registers() {
		s += fmt.Sprintf("%s=%#x ", r.Name, r.Value)
	}
	return s
}
