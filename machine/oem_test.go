// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// structure is one of SMBIOS with strings.
func structure(kind byte, formatted []byte, texts ...string) []byte {
	b := append([]byte{kind, byte(4 + len(formatted)), 0, 0}, formatted...)
	for _, t := range texts {
		b = append(append(b, t...), 0)
	}
	if len(texts) == 0 {
		b = append(b, 0)
	}
	return append(b, 0)
}

func TestCmdlineExtra(t *testing.T) {
	const want = "quiet rd.debug=1"
	system := structure(1, make([]byte, 23), "Maker", cmdlineExtra+"no OEM string")
	oem := structure(11, []byte{2}, "io.systemd.credential:root=secret", cmdlineExtra+want, cmdlineExtra+"second")
	end := structure(127, nil)
	for _, c := range []struct {
		name  string
		table []byte
		want  string
	}{
		{"found", slices.Concat(system, structure(32, make([]byte, 16)), oem, end), want},
		{"in the second structure", slices.Concat(structure(11, []byte{1}, "text"), oem, end), want},
		{"empty", slices.Concat(structure(11, []byte{1}, cmdlineExtra), end), ""},
		{"none", slices.Concat(system, end), ""},
		{"behind the end", slices.Concat(system, end, oem), ""},
		{"structure of length 0", slices.Concat([]byte{11, 0, 0, 0}, oem), ""},
		{"structure longer than the table", []byte{11, 200, 0, 0, 1}, ""},
		{"no final zeros", oem[:5+len("io.systemd.credential:root=secret")+1+len(cmdlineExtra+want)], want},
		{"nothing", nil, ""},
	} {
		m := ReadFS(fstest.MapFS{"sys/firmware/dmi/tables/DMI": {Data: c.table}})
		if got, ok := m.SMBIOS.Cmdline.Get(); !ok || got != c.want {
			t.Errorf("%s: Cmdline = %q, known %v, want %q", c.name, got, ok, c.want)
		}
		var recorded []byte
		for _, f := range m.Recording() {
			if f.Path == "sys/firmware/dmi/tables/DMI" {
				recorded = f.Data
			}
		}
		if bytes.Contains(recorded, []byte("secret")) || bytes.Contains(recorded, []byte("Maker")) {
			t.Errorf("%s: the recording has %q, want nothing but the words for the command line", c.name, recorded)
		}
		if again := ReadFS(fstest.MapFS{"sys/firmware/dmi/tables/DMI": {Data: recorded}}); !m.Equal(again) {
			t.Errorf("%s: the recording reads back as %q, want %q", c.name, again.SMBIOS.Cmdline.Value, c.want)
		}
	}
	if m := ReadFS(fstest.MapFS{}); m.SMBIOS.Cmdline.Known() {
		t.Error("Cmdline is known without SMBIOS, want unknown")
	}
}

func FuzzOEMString(f *testing.F) {
	f.Add(slices.Concat(structure(11, []byte{1}, cmdlineExtra+"x"), structure(127, nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		text := oemString(b, cmdlineExtra)
		if got := oemString(oemTable(text), cmdlineExtra); got != text {
			t.Errorf("oemString(oemTable(%q)) = %q", text, got)
		}
	})
}

// What tells one display from another of its kind is not kept.
func TestDisplays(t *testing.T) {
	edid := make([]byte, 256)
	copy(edid, []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x4c, 0x2d, 0x34, 0x12, 's', 'e', 'r', 'i'})
	const dir = "sys/class/drm/"
	m := ReadFS(fstest.MapFS{
		dir + "card0-eDP-1/edid": {Data: edid},
		dir + "card0-DP-1/edid":  {},
		dir + "card0-DP-2/edid":  {Data: edid[:100]},
		dir + "card0/dev":        {Data: []byte("226:0\n")},
		dir + "version":          {Data: []byte("drm 1.1.0\n")},
	})
	want := map[string][]byte{"card0-eDP-1": append(edid[:12:12], make([]byte, 116)...)}
	if diff := cmp.Diff(want, m.Displays.Value); diff != "" {
		t.Errorf("Displays (-want +got):\n%s", diff)
	}
	fsys := fstest.MapFS{}
	for _, f := range m.Recording() {
		if !f.Dir {
			fsys[f.Path] = &fstest.MapFile{Data: f.Data}
		}
	}
	if again := ReadFS(fsys); !m.Equal(again) {
		t.Errorf("the recording reads back as %v, want %v", again.Displays.Value, m.Displays.Value)
	}
	if m := ReadFS(fstest.MapFS{}); m.Displays.Known() {
		t.Error("Displays are known without graphics, want unknown")
	}
}
