// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"github.com/peelboot/peel/machine"
)

// lowMemory is where RAM begins that plans use on x86: below, firmware and
// old code have their data.
const lowMemory = 1 << 20

// Preview returns m where it tells which RAM is free for the next kernel. To
// ordinary users the kernel does not say that (/proc/iomem); x86 kernels tell
// them the firmware's memory map all the same (/sys/firmware/memmap). Then
// Preview returns a copy of m that takes all RAM above the first MiB for
// free, and why it had to. A plan for it shows what would be laid out and how;
// addresses may collide with what the running kernel has reserved, so it must
// not be loaded. Put why into boot.Plan.Preview. When there is no such map
// either, m comes back as it is.
func Preview(m *machine.Machine) (p *machine.Machine, why string) {
	all, ok := m.Memory.Map.Get()
	if m.Memory.Usable.Known() || !ok {
		return m, ""
	}
	var free []machine.Range
	for _, r := range all {
		start := max(r.Start, lowMemory)
		if r.Type == machine.RAM && start <= r.Last {
			free = append(free, machine.Range{Start: start, Last: r.Last})
		}
	}
	if len(free) == 0 {
		return m, ""
	}
	guess := *m
	guess.Memory.Usable = machine.KnownFact(free, m.Memory.Map.Source)
	return &guess, "which memory is free was guessed from " + m.Memory.Map.Source + ": " + m.Memory.Usable.Why
}
