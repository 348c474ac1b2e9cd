// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
)

// A plan as JSON has digests of what is the same each time, none of seeds or
// of virtual addresses, and every field is in docs/plan-json.md.
func TestPlanJSON(t *testing.T) {
	arm := arm64Image()
	doc, err := os.ReadFile("../docs/plan-json.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		kernel []byte
		host   *Host
		o      Options
	}{
		{"x86", modern().bytes(), uefi(), Options{}},
		{"x86 crash", modern().bytes(), withCrash(uefi()), Options{Crash: true}},
		{"arm64", arm, virt(t), Options{}},
	} {
		initrd := []byte("initrd")
		pay := payload(c.kernel, "quiet", initrd)
		pay.Kernel.Origin, pay.Initrds[0].Origin = "uki.efi/.linux", "uki.efi/.initrd"
		p := mustBuild(t, pay, c.host, c.o)
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Segments []struct {
				Name, Origin, SHA256 string
				Size                 int
			}
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		for i, s := range got.Segments {
			data := p.Segments[i].Data
			sum := sha256.Sum256(data)
			want := hex.EncodeToString(sum[:])
			if s.Name == "boot_params" || s.Name == "dtb" || s.Name == "elfcorehdr" {
				want = ""
			}
			if s.SHA256 != want || s.Size != len(data) {
				t.Errorf("%s: segment %s has digest %q and %d bytes, want %q and %d", c.name, s.Name, s.SHA256, s.Size, want, len(data))
			}
			if origin := map[string]string{"kernel": "uki.efi/.linux", "initrd": "uki.efi/.initrd"}[s.Name]; s.Origin != origin {
				t.Errorf("%s: segment %s is of %q, want %q", c.name, s.Name, s.Origin, origin)
			}
		}
		for _, secret := range []string{hex.EncodeToString(bytes.Repeat([]byte{0x5e}, 8)), fmt.Sprint(uint64(0xffffffff81000000))} {
			if strings.Contains(string(b), secret) {
				t.Errorf("%s: the plan tells %s:\n%s", c.name, secret, b)
			}
		}
		var tree any
		if err := json.Unmarshal(b, &tree); err != nil {
			t.Fatal(err)
		}
		eachKey(tree, func(k string) {
			if !strings.Contains(string(doc), "`"+k+"`") && !strings.Contains(string(doc), "."+k+"`") && !strings.Contains(string(doc), k+"[]") {
				t.Errorf("%s: field %q is not in docs/plan-json.md", c.name, k)
			}
		})
	}
	if image.KindBzImage != "bzimage" || image.KindVmlinux != "vmlinux" || image.KindImage != "image" {
		t.Error("kinds have other names than docs/plan-json.md")
	}
}

func eachKey(v any, do func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			do(k)
			eachKey(e, do)
		}
	case []any:
		for _, e := range v {
			eachKey(e, do)
		}
	}
}
