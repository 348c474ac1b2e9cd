// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// realImages are PE images of different makers.
func realImages(t *testing.T) []string {
	t.Helper()
	initrd := []byte("an initrd of an odd length")
	key := testkit.NewKey(t, "site")
	return []string{
		testkit.UKI(t, testkit.UKIOptions{Name: "ukify.efi", Initrd: initrd, Cmdline: "quiet ü", Key: key}),
		testkit.UKI(t, testkit.UKIOptions{Name: "objcopy.efi", Initrd: initrd, Cmdline: "quiet", Objcopy: true}),
		testkit.UKI(t, testkit.UKIOptions{Name: "arm64.efi", Arch: "arm64", Initrd: initrd, Cmdline: "quiet"}),
		testkit.Kernel(t, "amd64", "6.12"),
		testkit.Kernel(t, "amd64", "6.1"),
		testkit.Kernel(t, "arm64", "6.12"),
		testkit.SystemdBoot(t, "arm64", "trixie"),
		testkit.Shim(t),
		"../image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi",
		"../image/zboot/testdata/vmlinuz-arm64-6.1-lzo.efi",
	}
}

// TestOracles: other people's tools agree about real images.
func TestOracles(t *testing.T) {
	images := realImages(t)
	t.Run("ukify", func(t *testing.T) { agreeUkify(t, images[:3]) })
	t.Run("objdump", func(t *testing.T) { agreeObjdump(t, images) })
	t.Run("file", func(t *testing.T) { agreeFile(t, images) })
}

// agreeUkify: sizes, digests and texts of sections are those that ukify tells.
func agreeUkify(t *testing.T, images []string) {
	t.Helper()
	for _, path := range images {
		var theirs map[string]struct {
			Size   uint64 `json:"size"`
			SHA256 string `json:"sha256"`
			Text   string `json:"text"`
		}
		out := testkit.Run(t, "", "ukify", "--json=short", "--all", "inspect", path)
		if err := json.Unmarshal(out, &theirs); err != nil {
			t.Fatalf("%s: %v: %s", path, err, out)
		}
		r := Describe(path, testkit.ReadFile(t, path), Options{Depth: 1})
		if len(theirs) != len(r.Layer.Sections) {
			t.Errorf("%s: %d sections, ukify tells %d", path, len(r.Layer.Sections), len(theirs))
		}
		for _, s := range r.Layer.Sections {
			o, ok := theirs[s.Name]
			if !ok || o.Size != s.Size || o.SHA256 != s.SHA256 {
				t.Errorf("%s: %s = %d bytes, %s; ukify tells %+v", path, s.Name, s.Size, s.SHA256, o)
			}
			if s.Text != "" && strings.TrimSpace(s.Text) != strings.TrimSpace(o.Text) {
				t.Errorf("%s: %s = %q, ukify tells %q", path, s.Name, s.Text, o.Text)
			}
		}
	}
}

// agreeObjdump: names, sizes, addresses and offsets of sections are those that
// objdump tells.
func agreeObjdump(t *testing.T, images []string) {
	t.Helper()
	for _, path := range images {
		tool := "objdump"
		b := testkit.ReadFile(t, path)
		in := image.Detect(b)
		if in.Arch == image.ArchARM64 {
			tool = "aarch64-linux-gnu-objdump"
		}
		if in.PE == nil {
			t.Fatalf("%s: no PE image: %v", path, in.Err)
		}
		var theirs, ours []string
		for line := range strings.Lines(string(testkit.Run(t, "", tool, "-h", path))) {
			var n, align int
			var name string
			var size, vma, lma, off uint64
			if k, _ := fmt.Sscanf(line, "%d %s %x %x %x %x 2**%d", &n, &name, &size, &vma, &lma, &off, &align); k == 7 {
				theirs = append(theirs, fmt.Sprintf("%s 0x%x bytes at 0x%x, 0x%x", name, size, off, vma))
			}
		}
		for _, s := range in.PE.Sections {
			ours = append(ours, fmt.Sprintf("%s 0x%x bytes at 0x%x, 0x%x", s.Name, len(in.PE.Data(s)), s.PointerToRawData, in.PE.ImageBase+uint64(s.VirtualAddress)))
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("%s (-objdump +peel):\n%s", filepath.Base(path), diff)
		}
	}
}

// agreeFile: file(1) agrees about what an image is and, of kernels, about the
// version and the protocol.
func agreeFile(t *testing.T, images []string) {
	t.Helper()
	arch := map[image.Arch]string{image.ArchX86_64: "x86-64", image.ArchARM64: "ARM64"}
	for _, path := range images {
		said := string(testkit.Run(t, "", "file", "-b", path))
		b := testkit.ReadFile(t, path)
		l := Describe(path, b, Options{Depth: 1}).Layer
		var want []string
		switch l.Kind {
		case image.KindBzImage:
			want = []string{"Linux kernel x86 boot executable", "bzImage", "version " + l.Kernel.Release, "protocol " + l.Kernel.Protocol,
				fmt.Sprintf("init_size 0x%x", l.Kernel.MemorySize), fmt.Sprintf("max cmdline size %d", l.Kernel.CmdlineSize)}
			if l.Kernel.Method == "zstd" {
				want = append(want, "ZST compressed")
			}
		case image.KindImage:
			want = []string{"Linux kernel ARM64 boot executable Image", "4K pages"}
		case image.KindUKI, image.KindPE, image.KindZboot:
			f, err := pe.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			want = []string{"PE32+ executable for EFI (application)", arch[l.Arch], fmt.Sprintf("%d sections", len(f.Sections))}
		default:
			t.Errorf("%s: %s", path, l.Kind)
		}
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: file says %q, want %q in it", filepath.Base(path), said, w)
			}
		}
	}
}
