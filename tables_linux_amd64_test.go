// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/machine/machinetest"
	"github.com/peelboot/peel/trust"
)

// oemTables are the tables of a machine whose SMBIOS 3 has one OEM string
// (DSP0134, sections 5.2.2 and 7.12).
func oemTables(text string) efi.Tables {
	b := append([]byte{11, 5, 0, 0, 1}, text...)
	b = append(b, 0, 0, 127, 4, 1, 0, 0, 0)
	entry := append([]byte("_SM3_\x00\x18\x03\x05\x00\x01\x00"), make([]byte, 12)...)
	return efi.Tables{SMBIOS: firmware.SMBIOS{Entry: entry, Structures: b}}
}

// The stub of the run route takes words of SMBIOS by itself; it got them also
// where the policy lets nobody add to the command line.
func TestRunWordsAgainstPolicy(t *testing.T) {
	path, key := signed(t, testkit.UKIOptions{Cmdline: "from=uki"})
	tables := oemTables("io.systemd.stub.kernel-cmdline-extra=from=smbios")
	before := bytes.Clone(tables.SMBIOS.Structures)
	m := machinetest.Machine(t, "x86-bios")
	for _, tt := range []struct {
		name            string
		policy          func(*trust.Policy)
		alone, foretell bool
		line            string
		left, reported  int
	}{
		{"enforced", func(*trust.Policy) {}, false, false, "from=uki", 1, 0},
		{"foretold", func(*trust.Policy) {}, false, true, "from=uki from=smbios", 0, 0},
		{"allowed", func(p *trust.Policy) { p.Cmdline = trust.RuleAllow }, false, false, "from=uki from=smbios", 0, 1},
		{"warn", func(p *trust.Policy) { p.SetMode(trust.Warn, "test") }, false, false, "from=uki from=smbios", 0, 1},
		{"alone", func(p *trust.Policy) { p.Cmdline = trust.RuleAllow }, true, false, "from=uki", 0, 0},
	} {
		v := trusting(key)
		tt.policy(&v.Policy)
		im, err := peel.Open(path, peel.Options{Verifier: v})
		if err != nil {
			t.Fatal(err)
		}
		c, err := im.Run(context.Background(), m, peel.Additions{}, peel.RunOptions{Tables: tables, NoBeside: tt.alone, Foretell: tt.foretell})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.LeftOut) != tt.left {
			t.Errorf("%s: left out %v, want %d", tt.name, c.LeftOut, tt.left)
		}
		p, err := c.Plan(m, boot.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p.HandOver.Cmdline != tt.line {
			t.Errorf("%s: command line = %q, want %q", tt.name, p.HandOver.Cmdline, tt.line)
		}
		n := len(slices.DeleteFunc(slices.Clone(c.Report.Layers), func(l trust.LayerReport) bool { return l.Name != "SMBIOS" }))
		if n != tt.reported {
			t.Errorf("%s: %d layers of SMBIOS in the report, want %d", tt.name, n, tt.reported)
		}
		c.Close()
		im.Close()
	}
	if !bytes.Equal(tables.SMBIOS.Structures, before) {
		t.Error("Run changed the tables that it was given")
	}
}
