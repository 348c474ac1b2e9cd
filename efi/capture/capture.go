// SPDX-License-Identifier: Apache-2.0

// Package capture holds the value that the run route hands on: what an EFI
// stub has left in memory at the moment it jumps into the kernel.
//
// In: nothing; package efi fills the value. Out: plain data for package boot,
// which makes a plan of it.
//
// It must never run code or change what was captured.
package capture

import (
	"fmt"
	"strings"

	"github.com/peelboot/peel/image"
)

// State is a machine that a stub has prepared, just before the first
// instruction of the kernel. Data of Runs is a view that lasts until the
// owner of the State closes it.
type State struct {
	Arch image.Arch `json:"arch"`
	// Entry is the physical address of the first instruction of the kernel.
	Entry uint64 `json:"entry"`
	// Argument is what the entry is given: the address of boot_params on x86,
	// of the device tree on arm64.
	Argument uint64 `json:"argument"`
	// Runs are the pages that have contents and that the kernel may rely on:
	// sorted, disjoint, page by page of one type of memory.
	Runs []Run `json:"runs"`
	// RAM is all memory by physical address, of which Runs are parts; what is
	// between them means nothing. It may be nil.
	RAM []byte `json:"-"`
	// Map is the memory map at ExitBootServices.
	Map []Region `json:"map"`
	// SystemTable is the address of the EFI system table that the stub was
	// given. Its services are gone.
	SystemTable uint64 `json:"system_table"`
	// Tables are the configuration tables, by GUID.
	Tables map[string]uint64 `json:"tables,omitempty"`
	// Variables are those that the guest has set, Data nil for deleted ones.
	Variables []Variable `json:"variables,omitempty"`
	// Console is what was printed.
	Console string `json:"console,omitempty"`
	// Stats tell what it took.
	Stats Stats `json:"stats"`
	// Notes tell what was decided, for people.
	Notes []string `json:"notes,omitempty"`
}

// Run is a run of memory with contents.
type Run struct {
	Phys uint64 `json:"phys"`
	Type string `json:"type"`
	Data []byte `json:"-"`
	// Size is that of Data in bytes.
	Size uint64 `json:"size"`
}

// Region is an entry of the EFI memory map.
type Region struct {
	Start uint64 `json:"start"`
	Size  uint64 `json:"size"`
	Type  uint32 `json:"type"`
	Name  string `json:"name"`
}

// Variable is an EFI variable.
type Variable struct {
	Name       string `json:"name"`
	GUID       string `json:"guid"`
	Attributes uint32 `json:"attributes"`
	Data       []byte `json:"data"`
}

// Stats tell what a run took.
type Stats struct {
	// Calls counts service calls by name, Emulated instructions.
	Calls    map[string]int `json:"calls"`
	Emulated int            `json:"emulated"`
	// Stops is how often the guest was stopped.
	Stops int `json:"stops"`
	// Memory is how many bytes of RAM had contents in the end.
	Memory int64 `json:"memory"`
	// Isolation says how the guest was kept apart.
	Isolation string `json:"isolation"`
}

// Total returns the number of service calls.
func (s *Stats) Total() int {
	n := 0
	for _, c := range s.Calls {
		n += c
	}
	return n
}

// Read returns size bytes at a physical address, or nil when they are not all
// in one run.
func (s *State) Read(addr, size uint64) []byte {
	for i := range s.Runs {
		r := &s.Runs[i]
		if addr >= r.Phys && addr-r.Phys <= uint64(len(r.Data)) && size <= uint64(len(r.Data))-(addr-r.Phys) {
			return r.Data[addr-r.Phys:][:size:size]
		}
	}
	return nil
}

// String returns a summary for people.
func (s *State) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s kernel at %#x, argument %#x\n", s.Arch, s.Entry, s.Argument)
	for _, r := range s.Runs {
		fmt.Fprintf(&b, "  %-20s %#012x + %#010x\n", r.Type, r.Phys, r.Size)
	}
	fmt.Fprintf(&b, "%d service calls, %d instructions emulated, %d stops, %d KiB of memory\n",
		s.Stats.Total(), s.Stats.Emulated, s.Stats.Stops, s.Stats.Memory>>10)
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}
