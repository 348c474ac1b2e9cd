// SPDX-License-Identifier: Apache-2.0

package kexec

import "github.com/peelboot/peel/machine"

// Status is what the running kernel tells of loaded kernels. It does not tell
// which kernel that is.
type Status struct {
	Loaded       machine.Fact[bool]            `json:"loaded"`
	CrashLoaded  machine.Fact[bool]            `json:"crash_loaded"`
	CrashSize    machine.Fact[uint64]          `json:"crash_size"` // bytes set aside
	CrashRanges  machine.Fact[[]machine.Range] `json:"crash_ranges"`
	LoadDisabled machine.Fact[bool]            `json:"load_disabled"`
}

// StatusOf returns the state of kexec at the time of the snapshot.
func StatusOf(m *machine.Machine) Status {
	return Status{
		Loaded:       m.Kexec.Loaded,
		CrashLoaded:  m.Kexec.CrashLoaded,
		CrashSize:    m.Kexec.CrashSize,
		CrashRanges:  m.Memory.Crash,
		LoadDisabled: m.Kexec.LoadDisabled,
	}
}
