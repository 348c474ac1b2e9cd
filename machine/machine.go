// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"io/fs"
	"os"
	"reflect"
)

// Machine is one snapshot of a machine.
type Machine struct {
	Kernel       Kernel             `json:"kernel"`
	CPU          CPU                `json:"cpu"`
	Memory       Memory             `json:"memory"`
	EFI          EFI                `json:"efi"`
	ACPI         ACPI               `json:"acpi"`
	BootParams   BootParams         `json:"boot_params"`
	FDT          Fact[[]byte]       `json:"fdt"` // flattened device tree of the running kernel, seeds wiped
	Kexec        Kexec              `json:"kexec"`
	Security     Security           `json:"security"`
	TPM          TPM                `json:"tpm"`
	Confidential Fact[Confidential] `json:"confidential"`
	SMBIOS       SMBIOS             `json:"smbios"`
	// Displays maps the names of connectors to the EDIDs of what is connected,
	// of which only maker and product are kept.
	Displays Fact[map[string][]byte] `json:"displays"`
	// Systemd tells whether systemd is the running system's manager.
	Systemd Fact[bool] `json:"systemd"`

	// snap holds what was read, for Record.
	snap map[string]entry
}

type options struct {
	variables map[string]bool
}

// Option changes what Read reads.
type Option func(*options)

// WithVariables makes Read take the contents of more EFI variables, each given
// as "Name-guid". Whoever names a variable that holds a secret will find it in
// a recording.
func WithVariables(keys ...string) Option {
	return func(o *options) {
		for _, k := range keys {
			o.variables[k] = true
		}
	}
}

// Read takes a snapshot of the machine below root: "/" for the running one,
// the directory of a recording for another. It fails only when root itself
// cannot be opened; facts that are missing are told as such.
func Read(root string, opts ...Option) (*Machine, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("machine: read: %w", err)
	}
	defer r.Close()
	return ReadFS(r.FS(), opts...), nil
}

// ReadFS is Read for any file system, such as an archive or a map in a test.
func ReadFS(fsys fs.FS, opts ...Option) *Machine {
	o := &options{variables: map[string]bool{}}
	for _, opt := range opts {
		opt(o)
	}
	s := newSnapshot(fsys)
	m := &Machine{}
	m.Kernel = readKernel(s)
	m.CPU = readCPU(s)
	m.BootParams = readBootParams(s)
	m.FDT = readFDT(s)
	m.Memory = readMemory(s, &m.BootParams)
	m.EFI = readEFI(s, o, &m.BootParams, m.FDT)
	m.ACPI = readACPI(s, &m.Kernel, &m.EFI, &m.BootParams)
	m.Kexec = readKexec(s)
	m.Security = readSecurity(s, &m.Kernel)
	m.TPM = readTPM(s)
	m.Confidential = readConfidential(s, &m.CPU)
	m.SMBIOS = readSMBIOS(s)
	m.Displays = readDisplays(s)
	m.Systemd = s.exists("run/systemd/system")
	m.snap = s.seen
	return m
}

// Equal reports whether two snapshots hold the same facts, but for
// Memory.Mappings, which are in no recording.
func (m *Machine) Equal(o *Machine) bool {
	if m == nil || o == nil {
		return m == o
	}
	a, b := *m, *o
	a.snap, b.snap = nil, nil
	a.Memory.Mappings, b.Memory.Mappings = Fact[[]Mapping]{}, Fact[[]Mapping]{}
	return reflect.DeepEqual(a, b)
}
