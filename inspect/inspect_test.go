// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// smallUKI makes a UKI of an arm64 kernel that is its header alone.
func smallUKI(t testing.TB, cmdline string) []byte {
	t.Helper()
	kernel := make([]byte, 64)
	copy(kernel[56:], "ARM\x64")
	binary.LittleEndian.PutUint64(kernel[16:], 64)
	b := pe.NewBuilder(pe.Options{Machine: 0xaa64})
	for _, s := range []struct {
		name string
		data string
	}{
		{".osrel", "ID=x\nPRETTY_NAME=\"X 1\"\n"},
		{".cmdline", cmdline},
		{".linux", string(kernel)},
		{".profile", "ID=debug\nTITLE=Debugging\n"},
		{".cmdline", "debug"},
	} {
		if err := b.Add(pe.NewSection{Name: s.name, Data: [][]byte{[]byte(s.data)}, Characteristics: pe.SectionRead}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestText(t *testing.T) {
	r := Describe("dir/linux.efi", smallUKI(t, "quiet\x1b[31m"), Options{})
	var out strings.Builder
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	// Digests are left to TestDigests.
	var got []string
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, "sha256  ") && !strings.Contains(line, "authenticode  ") {
			got = append(got, strings.TrimRight(line, " \n"))
		}
	}
	want := []string{
		"linux.efi  unified kernel image for arm64, 3584 B",
		"│  signed by     nobody",
		"│  profile @0    debug  Debugging",
		"│",
		"├─ .osrel         23 B  PCR 11  X 1",
		"├─ .cmdline       10 B  PCR 11  quiet [31m",
		"├─ .linux         64 B  PCR 11",
		"│  └─ kernel Image for arm64, 64 B",
		"│        boots by      its Image header, needs 64 B",
		"├─ .profile       25 B  PCR 11  ID=debug TITLE=Debugging",
		"└─ .cmdline        5 B  PCR 11  debug",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("WriteText (-want +got):\n%s", diff)
	}
}

func TestReal(t *testing.T) {
	path := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "quiet"})
	r := Describe(path, testkit.ReadFile(t, path), Options{})
	kernel := testkit.KernelImage(t, "amd64", "6.12")
	if n := len(r.Layer.Layers); n != 1 {
		t.Fatalf("layers = %d, want 1", n)
	}
	k := r.Layer.Layers[0]
	if k.Kind != image.KindBzImage || k.Kernel == nil || k.Kernel.Release != kernel.Release || k.Kernel.Method != "zstd" {
		t.Errorf("kernel = %s %+v, want a bzImage of %s, zstd", k.Kind, k.Kernel, kernel.Release)
	}
	if len(k.Signatures) != 1 || !strings.Contains(k.Signatures[0].Issuer, "Debian Secure Boot CA") || k.Signatures[0].Problem != "" {
		t.Errorf("kernel's signatures = %+v, want one of Debian's", k.Signatures)
	}
	if r.Layer.Signatures != nil {
		t.Errorf("signatures = %+v, want none", r.Layer.Signatures)
	}
	if got, want := k.SHA256, sum(testkit.ReadFile(t, kernel.Path)); got != want {
		t.Errorf("kernel's sha256 = %s, want %s", got, want)
	}
}

func TestZboot(t *testing.T) {
	// The digests are those that the images' README tells.
	for name, want := range map[string]string{
		"vmlinuz-arm64-6.12-gzip.efi": "62380a49bbcd286e011b4723b39c1beb4ed0d452842e99cbb54b14845137ab12",
		"vmlinuz-arm64-6.1-xz.efi":    "89705bf3c5629f6e3c73ab83fcbd873cb786dd54423f7a3e843cc466a4ba3e90",
		"vmlinuz-arm64-6.1-lzo.efi":   "d69585ec58bc1aa6b143622813fde02156f92a63fbd9eb255a97b153d56875b5",
	} {
		r := Describe(name, testkit.ReadFile(t, "../image/zboot/testdata/"+name), Options{})
		if r.Layer.Kind != image.KindZboot || len(r.Layer.Layers) != 1 || r.Layer.Layers[0].SHA256 != want {
			t.Errorf("%s: %s, layers %+v, want a zboot image of %s", name, r.Layer.Kind, r.Layer.Layers, want)
		}
		r = Describe(name, testkit.ReadFile(t, "../image/zboot/testdata/"+name), Options{Limit: 1 << 20})
		if r.Layer.Problem == "" {
			t.Errorf("%s with a limit of 1 MiB: no problem, want one", name)
		}
	}
}

// Nesting must end although every layer is a good one.
func TestDepth(t *testing.T) {
	b := smallUKI(t, "")
	for range 8 {
		bld := pe.NewBuilder(pe.Options{Machine: 0xaa64})
		if err := bld.Add(pe.NewSection{Name: ".linux", Data: [][]byte{b}, Characteristics: pe.SectionRead}); err != nil {
			t.Fatal(err)
		}
		l, err := bld.Layout()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := l.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		b = out.Bytes()
	}
	r := Describe("nested", b, Options{})
	depth, l := 0, r.Layer
	for len(l.Layers) > 0 {
		depth, l = depth+1, l.Layers[0]
	}
	if depth != defaultDepth || !strings.Contains(l.Problem, "layers") {
		t.Errorf("Describe = %d layers deep, problem %q, want %d and a problem", depth, l.Problem, defaultDepth)
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(smallUKI(f, "quiet"))
	f.Add([]byte("MZ"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Describe("fuzz", b, Options{Limit: 1 << 20})
		var out bytes.Buffer
		if err := r.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(out.Bytes(), "\x00\x1b\r") {
			t.Fatalf("control characters in %q", out.Bytes())
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}
