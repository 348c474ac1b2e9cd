// SPDX-License-Identifier: Apache-2.0

package hwid

import (
	"errors"
	"strings"
	"testing"
)

// The ids are what `fwupdtool hwids` printed on these machines.
func TestCompute(t *testing.T) {
	for _, c := range []struct {
		name   string
		smbios map[string]string
		want   [Standard]string
	}{
		{
			name: "laptop",
			smbios: map[string]string{
				"bios_vendor": "LENOVO", "bios_version": "Q1CN25WW", "bios_release": "1.25", "sys_vendor": "LENOVO",
				"product_family": "IdeaPad 5 2-in-1 14Q8X9", "product_name": "83GH", "chassis_type": "31",
				"product_sku": "LENOVO_MT_83GH_BU_idea_FM_IdeaPad 5 2-in-1 14Q8X9", "board_vendor": "LENOVO", "board_name": "LNVNB161216",
			},
			want: [Standard]string{
				"db0cb253-2dc7-5164-8ce7-6ed312c1dd9b", "72fe9329-cc32-5032-8714-d7ec08a9d441", "aa4cb99b-c4ff-56a4-8b63-ab59db887972",
				"d622845f-0305-5b33-b081-b7519488ed65", "9b723570-d493-5541-ae58-49087512f816", "eb458c6d-45b2-5299-95b7-87723235240e",
				"920bf110-b027-51fc-97e5-bb9b46e78c75", "9276913a-a9da-5237-b4e8-c8502197264a", "a8a28ecb-200f-59c6-8fe3-62fa670fb80d",
				"24248bed-dbd2-5e4f-ba41-4e03a09b904a", "68320834-1316-5dad-babf-ae31cc3ff58c", "d15b437b-55bf-5bd8-8a88-eb4b9e54cb97",
				"32b7e294-a252-5a72-b3c6-6197f08c64f1", "71d86d4d-02f8-5566-a7a1-529cef184b7e", "6de5d951-d755-576b-bd09-c5cf66b27234",
			},
		},
		{
			name: "board without board strings",
			smbios: map[string]string{
				"bios_vendor": "Qualcomm Technologies, Inc.", "bios_version": "6.0.240718.BOOT.MXF.2.4-00515-HAMOA-1", "bios_release": "255.255",
				"sys_vendor": "  Qualcomm ", "product_family": "SCP_HAMOA", "product_name": "CRD", "product_sku": " 0006",
			},
			want: [Standard]string{
				"e73870a5-90e8-528d-93fd-3da59f78df18", "2405af0b-d21d-5196-a228-4acffe7b3a10", "8fa88c58-23eb-5aea-9ea7-c4a98ded7352",
				"", "7faef667-9eb2-53f4-9764-26fe0e92fbff", "b6d4eee8-30f3-564a-8246-e83935cf8dbb", "", "4bb05d50-6c4f-525d-a9ec-8924afd6edea",
				"", "339fc6d2-e0f4-5226-9dd9-62c4dc41881d", "", "b36a40fa-4640-5b1b-8fa1-6dbde103c80d", "", "", "0d601876-0ac6-533e-8386-3a58203d8c33",
			},
		},
		{name: "nothing known"},
	} {
		for n, id := range Compute(c.smbios, "") {
			got := id.String()
			if id == (ID{}) {
				got = ""
			}
			want := ""
			if n < Standard {
				want = c.want[n]
			}
			if got != want {
				t.Errorf("%s: HardwareID-%d = %s, want %s", c.name, n, got, want)
			}
			if got == "" {
				continue
			}
			if back, err := Parse("{" + strings.ToUpper(got) + "}"); err != nil || back != id {
				t.Errorf("Parse(%s) = %s, %v, want it back", got, back, err)
			}
		}
	}
}

// The most specific first, as far as the machine has them.
func TestForMatching(t *testing.T) {
	smbios := map[string]string{"sys_vendor": "QEMU", "product_family": "", "product_name": "QEMU Virtual Machine"}
	ids := Compute(smbios, "AUO1234")
	got := ForMatching(smbios, "AUO1234")
	want := []int{Standard + 1, Standard, 5, 9, 11}
	if len(got) != len(want) {
		t.Fatalf("ForMatching() = %d ids, want %d", len(got), len(want))
	}
	for i, n := range want {
		if got[i] != ids[n] {
			t.Errorf("ForMatching()[%d] = %s, want HardwareID-%d, %s", i, ID(got[i]), n, ids[n])
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, s := range []string{"", "{}", "x", "db0cb253-2dc7-5164-8ce7-6ed312c1dd9", "db0cb253-2dc7-5164-8ce7-6ed312c1dd9g",
		"db0cb25302dc7-5164-8ce7-6ed312c1dd9b", "{db0cb253-2dc7-5164-8ce7-6ed312c1dd9b"} {
		if id, err := Parse(s); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %s, %v, want ErrSyntax", s, id, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("db0cb253-2dc7-5164-8ce7-6ed312c1dd9b")
	f.Add("{DB0CB253-2DC7-5164-8CE7-6ED312C1DD9B}")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := Parse(s)
		if err == nil && !strings.EqualFold(strings.Trim(s, "{}"), id.String()) {
			t.Errorf("Parse(%q) = %s", s, id)
		}
		Compute(map[string]string{"sys_vendor": s, "bios_release": s, "chassis_type": s}, s)
	})
}
