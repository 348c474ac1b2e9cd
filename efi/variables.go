// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"slices"
	"strings"

	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/machine"
)

// VariablesOf returns the variables of a machine whose contents its snapshot
// holds, sorted, to seed Options.Variables with: then a stub finds Secure Boot
// as it is on this machine, and systemd-stub for one ignores load options
// where the image brings its own command line. Without them it finds a
// machine that has never heard of Secure Boot.
func VariablesOf(m *machine.Machine) []Variable {
	var keys []string
	for k := range m.EFI.Variables {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []Variable
	for _, k := range keys {
		v, ok := m.EFI.Variables[k].Get()
		const guidText = 36
		if !ok || len(k) <= guidText+1 {
			continue
		}
		name, text := k[:len(k)-guidText-1], k[len(k)-guidText:]
		g, err := firmware.ParseGUID(strings.ToLower(text))
		if err != nil {
			continue
		}
		out = append(out, Variable{Name: name, GUID: g, Attributes: v.Attributes, Data: v.Data})
	}
	return out
}
