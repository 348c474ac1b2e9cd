// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"bytes"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/trust"
)

// Measured is what the stub measured, for package measure; nil unless
// RunOptions.Measure asked for it. m is the machine that the stub was run on.
func (c *Captured) Measured(m *machine.Machine) *measure.Run {
	if c.State == nil || c.State.Measured == nil || c.State.Measured.Log == nil {
		return nil
	}
	got := c.State.Measured
	r := &measure.Run{Log: got.Log, Registers: got.Registers, Images: got.Images, Unlogged: got.Unlogged}
	// The command line is for people; a state that makes no plan has none.
	if p, err := c.Plan(m, boot.Options{}); err == nil {
		r.Cmdline = p.HandOver.Cmdline
	}
	return r
}

// Vouched reports whether a key or a list vouches for the image, so that its
// stub can be believed in what it says that it has measured. Whatever it says,
// the image itself was measured into PCR 4 before its first instruction.
func (c *Captured) Vouched() bool {
	return c.Report != nil && len(c.Report.Layers) > 0 && c.Report.Layers[0].Verdict == trust.Allowed
}

// AppendRAMDisk adds an archive behind the initial RAM disk that the stub has
// prepared: what peel itself has to tell the next kernel, such as an event
// log. No policy is asked; it must not be used for what comes from elsewhere.
func (c *Captured) AppendRAMDisk(p image.Part) {
	tail := append(bytes.Clone(c.tail), make([]byte, -len(c.tail)&(ramdiskAlign-1))...)
	c.tail = append(tail, p.Data...)
}

// Imagined returns m with memory that is made up: 3 GiB of RAM at the usual
// place of the architecture. A stub that runs there measures what it would
// measure on m, and as no plan for m can be made of it, nothing of m need be
// known, nor be told to an ordinary user.
func Imagined(m *machine.Machine, arch image.Arch) *machine.Machine {
	const gib = 1 << 30
	start := uint64(gib)
	if arch == image.ArchX86_64 {
		start = 1 << 20
	}
	ram := machine.Range{Start: start, Last: start + 3*gib - 1}
	const source = "made up"
	out := *m
	out.CPU.Arch = machine.KnownFact(arch, source)
	out.Memory = machine.Memory{
		Usable: machine.KnownFact([]machine.Range{ram}, source),
		Map:    machine.KnownFact([]machine.MemoryRange{{Range: ram, Type: machine.RAM}}, source),
	}
	return &out
}
