// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"strings"

	"github.com/peelboot/peel/measure/eventlog"
)

// DefaultPhases are the boot phases that systemd-measure computes unless told
// otherwise: from the initial RAM disk to a running system.
func DefaultPhases() []string {
	return []string{
		"enter-initrd", "enter-initrd:leave-initrd", "enter-initrd:leave-initrd:sysinit",
		"enter-initrd:leave-initrd:sysinit:ready",
	}
}

// PhaseValue is PCR 11 in a boot phase.
type PhaseValue struct {
	Phase string         `json:"phase"`
	PCR   uint32         `json:"pcr"`
	Hash  eventlog.Hash  `json:"-"`
	Value eventlog.Bytes `json:"hash"`
}

// NormalizePhase takes empty words out of a path of phases,
// ":enter-initrd::leave-initrd" becomes "enter-initrd:leave-initrd".
func NormalizePhase(s string) string {
	var words []string
	for _, w := range strings.Split(s, ":") {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, ":")
}

// PhaseEvents are the events of a path of phases: systemd-pcrphase extends PCR
// 11 with each word, without a final zero.
func PhaseEvents(banks []eventlog.Hash, path string) []eventlog.Event {
	var out []eventlog.Event
	for _, w := range strings.Split(NormalizePhase(path), ":") {
		if w != "" {
			out = append(out, eventlog.NewEvent(PCRKernelBoot, eventlog.IPL, banks, []byte(w), []byte(w)))
		}
	}
	return out
}

// Phases returns PCR 11 of a case at the end of each path of phases, bank by
// bank. An empty path is the value before user space extends it.
func (c *Case) Phases(banks []eventlog.Hash, paths []string) ([]PhaseValue, error) {
	var out []PhaseValue
	for _, h := range banks {
		start, ok := c.Values[h][PCRKernelBoot]
		if !ok {
			return nil, fmt.Errorf("bank %s of PCR %d: %w", h, PCRKernelBoot, ErrCase)
		}
		for _, path := range paths {
			l := eventlog.Log{Banks: []eventlog.Hash{h}, Events: PhaseEvents([]eventlog.Hash{h}, path)}
			v, err := l.ReplayFrom(h, eventlog.Registers{PCRKernelBoot: start})
			if err != nil {
				return nil, err
			}
			out = append(out, PhaseValue{NormalizePhase(path), PCRKernelBoot, h, v[PCRKernelBoot]})
		}
	}
	return out, nil
}
