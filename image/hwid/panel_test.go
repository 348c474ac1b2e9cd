// SPDX-License-Identifier: Apache-2.0

package hwid

import (
	"errors"
	"testing"
)

// edid describes a display of a maker and product.
func edid(maker, product uint16) []byte {
	b := make([]byte, 128)
	copy(b, []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, byte(maker >> 8), byte(maker), byte(product), byte(product >> 8)})
	return b
}

// Makers as the registry of PNP ids has them: SAM is Samsung, BOE is BOE.
func TestPanelID(t *testing.T) {
	for _, c := range []struct {
		edid []byte
		want string
	}{
		{edid(0x4c2d, 0x1234), "SAM1234"},
		{edid(0x09e5, 0x0bca), "BOE0bca"},
		{append(edid(0x09e5, 0xf), 1, 2, 3), "BOE000f"},
		{edid(0, 0), "@@@0000"},
		{edid(0x09e5, 1)[:127], ""},
		{nil, ""},
		{edid(27<<10, 1), ""},
		{edid(0xffff, 1), ""},
		{append([]byte{1}, edid(0x09e5, 1)...), ""},
	} {
		got, err := PanelID(c.edid)
		if got != c.want || (c.want == "") != errors.Is(err, ErrEDID) {
			t.Errorf("PanelID(% .12x) = %q, %v, want %q", c.edid, got, err, c.want)
		}
	}
}

func TestPanel(t *testing.T) {
	panel, monitor := edid(0x09e5, 0x0bca), edid(0x4c2d, 0x1234)
	for _, c := range []struct {
		name     string
		displays map[string][]byte
		want     string
	}{
		{"none", nil, ""},
		{"one", map[string][]byte{"card1-HDMI-A-1": monitor}, "SAM1234"},
		{"one connected", map[string][]byte{"card1-HDMI-A-1": monitor, "card1-eDP-1": {}}, "SAM1234"},
		{"laptop with a monitor", map[string][]byte{"card1-DP-2": monitor, "card1-eDP-1": panel}, "BOE0bca"},
		{"two monitors", map[string][]byte{"card1-DP-2": monitor, "card1-DP-1": monitor}, ""},
		{"two panels", map[string][]byte{"card1-DSI-1": panel, "card1-DSI-2": panel, "card1-DP-1": monitor}, ""},
	} {
		if got := Panel(c.displays); got != c.want {
			t.Errorf("Panel(%s) = %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzPanelID(f *testing.F) {
	f.Add(edid(0x4c2d, 0x1234))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := PanelID(b); err == nil && len(id) != 7 {
			t.Errorf("PanelID() = %q, want three letters and four digits", id)
		}
	})
}

// The ids are what systemd-analyze of systemd 262 told of the laptop in TestCompute with each panel: "systemd-analyze chid",
// lines ext0 to ext2.
func TestComputePanel(t *testing.T) {
	smbios := map[string]string{
		"sys_vendor": "LENOVO", "product_family": "IdeaPad 5 2-in-1 14Q8X9", "product_name": "83GH",
		"product_sku": "LENOVO_MT_83GH_BU_idea_FM_IdeaPad 5 2-in-1 14Q8X9",
	}
	for _, c := range []struct {
		edid []byte
		want [Count - Standard]string
	}{
		{edid(0x09e5, 0x0bca), [3]string{"e9402cbd-f3dd-5a0c-8d05-05badd8999b5", "827b1ab4-d9cd-5b91-8932-c02b3f2e656f", "dfcd5cc9-ea54-5f15-911a-361dd67780e7"}},
		{edid(0x4c2d, 0x1234), [3]string{"9cbffe11-8bcb-5326-812f-6c9bacf1cbf1", "c7683317-4437-5e63-a455-ca8265db5640", "8f89d4e5-1817-57ce-9e14-a66fdc29adb9"}},
		{edid(0, 0), [3]string{"9abb6cc0-4fce-5a38-a8db-e9587ebbf466", "8c0ddbdf-5510-55f8-9ef2-6f2063787e5f", "abc42949-41b2-54e4-a005-90a73f13f0b4"}},
	} {
		panel, err := PanelID(c.edid)
		if err != nil {
			t.Fatal(err)
		}
		ids := Compute(smbios, panel)
		for i, want := range c.want {
			if got := ids[Standard+i].String(); got != want {
				t.Errorf("%s: ext%d = %s, want %s", panel, i, got, want)
			}
		}
	}
	none := Compute(smbios, "")
	for i, id := range none[Standard:] {
		if id != (ID{}) {
			t.Errorf("without a panel: ext%d = %s, want none", i, id)
		}
	}
}
