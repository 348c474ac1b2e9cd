// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image/cpio"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/parser"
	"github.com/peelboot/peel/trust"
)

// pieces makes a PE image of name, contents, name, contents … and signs it
// with key unless that is nil.
func pieces(t *testing.T, key *testkit.Key, name string, machine uint16, s ...string) string {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: machine})
	for i := 0; i+1 < len(s); i += 2 {
		if err := b.Add(pe.NewSection{Name: s[i], Data: [][]byte{[]byte(s[i+1])}, Characteristics: pe.SectionRead}); err != nil {
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
	path := testkit.WriteFile(t, name, out.Bytes())
	if key != nil {
		return testkit.Sign(t, key, path)
	}
	return path
}

const amd64 = 0x8664

// put copies files to names below root.
func put(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, from := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data := []byte(from)
		if filepath.IsAbs(from) {
			data = testkit.ReadFile(t, from)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// detach signs path into path.p7s.
func detach(t *testing.T, key *testkit.Key, path string) {
	t.Helper()
	testkit.Run(t, filepath.Dir(path), "openssl", "cms", "-sign", "-binary", "-in", path, "-signer", key.CertPEM,
		"-inkey", key.KeyPEM, "-outform", "DER", "-out", path+".p7s", "-md", "sha256")
}

// shape writes down what a boot is made of: contents of small parts, names in
// archives.
func shape(t *testing.T, b *peel.Boot) []string {
	t.Helper()
	out := []string{"cmdline " + b.Cmdline}
	for _, p := range b.Payload.RAMDisk() {
		where := "inside"
		if p.Outside {
			where = "outside"
		}
		if !cpio.Is(p.Data) {
			out = append(out, fmt.Sprintf("%s %s", where, p.Data))
			continue
		}
		var names []string
		for r := cpio.NewReader(p.Data); ; {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Mode&cpio.ModeType == cpio.ModeRegular {
				names = append(names, fmt.Sprintf("%s=%s", e.Name, e.Data))
			}
		}
		out = append(out, where+" "+strings.Join(names, " "))
	}
	for _, o := range b.Payload.DTBOverlays {
		out = append(out, "overlay "+string(o.Data))
	}
	return out
}

// TestNearby: everything at once, in the order of systemd-stub.
func TestNearby(t *testing.T) {
	key, other := testkit.NewKey(t, "site"), testkit.NewKey(t, "other")
	ucode := testkit.WriteFile(t, "ucode", []byte("uki-ucode"))
	img := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("uki-initrd"), Cmdline: "base", Key: key, Extra: []string{"--microcode=" + ucode}})
	addon := func(k *testkit.Key, s ...string) string { return pieces(t, k, "a.addon.efi", amd64, s...) }
	root := t.TempDir()
	const extra = "EFI/Linux/x.efi.extra.d/"
	put(t, root, map[string]string{
		"EFI/Linux/x+2-1.efi":            img,
		"loader/addons/g.addon.efi":      addon(key, ".cmdline", "global\n", ".ucode", "g-ucode", ".initrd", "g-initrd"),
		extra + "a.addon.efi":            addon(key, ".cmdline", "one", ".ucode", "a-ucode", ".initrd", "a-initrd", ".uname", "0.0.0-peel"),
		extra + "b.addon.efi":            addon(key, ".cmdline", "\ttwo  "),
		extra + "c-unsigned.addon.efi":   addon(nil, ".cmdline", "UNSIGNED"),
		extra + "d-stranger.addon.efi":   addon(other, ".cmdline", "STRANGER"),
		extra + "e-uname.addon.efi":      addon(key, ".cmdline", "UNAME", ".uname", "6.66"),
		extra + "f-machine.addon.efi":    pieces(t, key, "m.addon.efi", 0xaa64, ".cmdline", "MACHINE"),
		extra + "g-uki.addon.efi":        addon(key, ".cmdline", "UKI", ".linux", "k"),
		extra + "h-empty.addon.efi":      addon(key, ".sbat", "x"),
		extra + "signed.cred":            "secret",
		extra + "unsigned.cred":          "SECRET",
		extra + "x.confext.raw":          "config",
		extra + "x.sysext.raw":           "system",
		"loader/credentials/global.cred": "global secret",
	})
	for _, f := range []string{extra + "signed.cred", extra + "x.confext.raw", extra + "x.sysext.raw", "loader/credentials/global.cred"} {
		detach(t, key, filepath.Join(root, f))
	}
	path := filepath.Join(root, "EFI/Linux/x+2-1.efi")
	last, err := peel.OpenPart(addon(key, ".cmdline", "three", ".ucode", "z-ucode", ".initrd", "z-initrd"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()

	im, err := peel.Open(path, peel.Options{Verifier: trusting(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	near, err := im.Nearby()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	b, err := im.Prepare(context.Background(), peel.Additions{Nearby: near, Addons: []peel.File{last.File}, Firmware: &peel.File{Name: "SMBIOS", Data: []byte("host")}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	osrel := "ID=peel-test\nNAME=\"peel test\"\nVERSION_ID=1\n"
	want := []string{
		"cmdline base global one two three",
		"outside z-ucode", "outside a-ucode", "outside g-ucode", "inside uki-ucode",
		"inside uki-initrd",
		"outside .extra/credentials/signed.cred=secret",
		"outside .extra/global_credentials/global.cred=global secret",
		"outside .extra/sysext/x.sysext.raw=system",
		"outside .extra/confext/x.confext.raw=config",
		"inside .extra/os-release=" + osrel,
		"outside g-initrd", "outside a-initrd", "outside z-initrd",
	}
	if diff := cmp.Diff(want, shape(t, b)); diff != "" {
		t.Errorf("Prepare (-want +got):\n%s", diff)
	}
	var left []string
	for _, l := range b.LeftOut {
		left = append(left, filepath.Base(l.Name))
		if want := uki.ErrAddon; strings.Contains(l.Name, "-uname") && !errors.Is(l.Err, want) {
			t.Errorf("%s: %v, want %v", l.Name, l.Err, want)
		}
		if want := trust.ErrUnknownSigner; strings.Contains(l.Name, "stranger") && !errors.Is(l.Err, want) {
			t.Errorf("%s: %v, want %v", l.Name, l.Err, want)
		}
	}
	if diff := cmp.Diff([]string{"c-unsigned.addon.efi", "d-stranger.addon.efi", "e-uname.addon.efi", "f-machine.addon.efi",
		"g-uki.addon.efi", "h-empty.addon.efi", "unsigned.cred", "SMBIOS"}, left); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if b.Report.Verdict != trust.Allowed {
		t.Errorf("verdict = %s: %s, want allowed", b.Report.Verdict, b.Report.Reason)
	}

	// The operator's command line takes the place of the image's alone.
	v := trusting(key)
	v.Policy.Cmdline = trust.RuleAllow
	im, err = peel.Open(path, peel.Options{Verifier: v})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	add := peel.Additions{Nearby: near, Cmdline: &peel.File{Name: "--cmdline", Data: []byte("mine")}, Append: &peel.File{Name: "--append", Data: []byte("end")},
		Firmware: &peel.File{Name: "SMBIOS", Data: []byte(" host\x01word\n")}}
	b2, err := im.Prepare(context.Background(), add)
	if err != nil {
		t.Fatal(err)
	}
	defer b2.Close()
	if want := "mine global one two host word end"; b2.Cmdline != want {
		t.Errorf("command line = %q, want %q", b2.Cmdline, want)
	}
}

// An addon that the operator names must be allowed and must fit.
func TestNamedAddon(t *testing.T) {
	key := testkit.NewKey(t, "site")
	img := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "base", Key: key})
	kernel := testkit.Sign(t, key, testkit.Kernel(t, "amd64", "6.12-unsigned"))
	for _, c := range []struct {
		name, image string
		key         *testkit.Key
		machine     uint16
		sections    []string
		want        error
	}{
		{"unsigned", img, nil, amd64, []string{".cmdline", "x"}, trust.ErrNoSignature},
		{"stranger", img, testkit.NewKey(t, "other"), amd64, []string{".cmdline", "x"}, trust.ErrUnknownSigner},
		{"release", img, key, amd64, []string{".cmdline", "x", ".uname", "6.66"}, parser.ErrBroken},
		{"machine", img, key, 0xaa64, []string{".cmdline", "x"}, parser.ErrBroken},
		{"for a plain kernel", kernel, key, amd64, []string{".cmdline", "x"}, parser.ErrAddons},
	} {
		f := peel.File{Name: c.name, Data: testkit.ReadFile(t, pieces(t, c.key, "x.addon.efi", c.machine, c.sections...))}
		im, err := peel.Open(c.image, peel.Options{Verifier: trusting(key)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := im.Prepare(context.Background(), peel.Additions{Addons: []peel.File{f}}); !errors.Is(err, c.want) {
			t.Errorf("%s: Prepare() = %v, want %v", c.name, err, c.want)
		}
		im.Close()
	}
}

func TestThin(t *testing.T) {
	key := testkit.NewKey(t, "site")
	kernelFile := testkit.Kernel(t, "amd64", "6.12-unsigned")
	kernel, initrd := testkit.ReadFile(t, kernelFile), []byte("thin initrd")
	sum := func(b []byte) string { s := sha256.Sum256(b); return string(s[:]) }
	for _, names := range [][]string{{".linux", ".linuxh", ".initrd", ".initrdh"}, {".kernelp", ".kernelh", ".initrdp", ".initrdh"}} {
		img := pieces(t, key, "nixos.efi", amd64, ".osrel", "ID=nixos", ".cmdline", "init=/nix quiet", names[2], `\EFI\nixos\initrd.efi`,
			names[0], `\EFI\nixos\kernel.efi`, names[3], sum(initrd), names[1], sum(kernel))
		root := t.TempDir()
		put(t, root, map[string]string{"EFI/Linux/nixos.efi": img, "EFI/nixos/kernel.efi": kernelFile, "EFI/nixos/initrd.efi": string(initrd),
			"EFI/Linux/nixos.efi.extra.d/a.cred": "secret", "loader/addons/a.addon.efi": "addon"})
		path := filepath.Join(root, "EFI/Linux/nixos.efi")
		detach(t, key, path+".extra.d/a.cred")
		prepare := func(o peel.Options) (*peel.Boot, error) {
			o.Verifier = trusting(key)
			im, err := peel.Open(path, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { im.Close() })
			near, err := im.Nearby()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { near.Close() })
			return im.Prepare(context.Background(), peel.Additions{Nearby: near})
		}
		b, err := prepare(peel.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if got := contents(t, b.Kernel); !bytes.Equal(got, kernel) {
			t.Errorf("kernel = %d bytes, want the %d on the volume", len(got), len(kernel))
		}
		want := []string{"cmdline init=/nix quiet", "inside thin initrd", "outside .extra/credentials/a.cred=secret"}
		if diff := cmp.Diff(want, shape(t, b)); diff != "" {
			t.Errorf("Prepare (-want +got):\n%s", diff)
		}
		if len(b.LeftOut) != 0 || b.Report.Verdict != trust.Allowed || len(b.Payload.Layers) != 2 {
			t.Errorf("left out %v, verdict %s, %d layers; want nothing left out, allowed, 2", b.LeftOut, b.Report.Verdict, len(b.Payload.Layers))
		}
		// The volume may be elsewhere.
		moved := filepath.Join(t.TempDir(), "moved")
		if err := os.Rename(filepath.Join(root, "EFI/nixos"), moved); err != nil {
			t.Fatal(err)
		}
		if _, err := prepare(peel.Options{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Prepare without the files: %v, want ErrNotExist", err)
		}
		put(t, root, map[string]string{"vol/EFI/nixos/kernel.efi": kernelFile, "vol/EFI/nixos/initrd.efi": string(initrd)})
		b, err = prepare(peel.Options{Volume: filepath.Join(root, "vol")})
		if err != nil {
			t.Fatal(err)
		}
		b.Close()
		put(t, root, map[string]string{"vol/EFI/nixos/initrd.efi": "thin initrd!"})
		if _, err := prepare(peel.Options{Volume: filepath.Join(root, "vol")}); !errors.Is(err, uki.ErrThinHash) {
			t.Errorf("Prepare with another initrd: %v, want ErrThinHash", err)
		}
	}
	lone := pieces(t, key, "lone.efi", amd64, ".linux", `\k`, ".linuxh", sum(kernel))
	im, err := peel.Open(lone, peel.Options{Verifier: trusting(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.Decompose(context.Background()); !errors.Is(err, peel.ErrNoVolume) {
		t.Errorf("Decompose of a thin image anywhere: %v, want ErrNoVolume", err)
	}
}

// Overlays of addons change the tree of the image, and that of the machine
// where the image has none; dtc's own fdtoverlay gives the same.
func TestOverlays(t *testing.T) {
	key := testkit.NewKey(t, "site")
	dir := t.TempDir()
	compile := func(name, source string) string {
		out := filepath.Join(dir, name)
		testkit.Run(t, dir, "dtc", "-@", "-q", "-O", "dtb", "-o", out, testkit.WriteFile(t, name+".dts", []byte(source)))
		return out
	}
	base := compile("base.dtb", `/dts-v1/; / { compatible = "peel,board"; bus: bus { uart: serial { status = "okay"; }; }; };`)
	one := compile("one.dtbo", `/dts-v1/; /plugin/; &uart { status = "disabled"; link = <&uart>; };`)
	two := compile("two.dtbo", `/dts-v1/; /plugin/; &bus { added { order = "after"; }; };`)
	addon := func(name, dtb string) peel.File {
		return peel.File{Name: name, Data: testkit.ReadFile(t, pieces(t, key, name, 0xaa64, ".dtb", string(testkit.ReadFile(t, dtb))))}
	}
	overlays := []peel.File{addon("1.addon.efi", one), addon("2.addon.efi", two)}
	root := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", "machine/testdata/arm64-dtb.tar.gz", "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	m, err := machine.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	img := testkit.UKI(t, testkit.UKIOptions{Arch: "arm64", Kernel: "image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi", Cmdline: "quiet", Key: key, Extra: []string{"--devicetree=" + base}})
	im, err := peel.Open(img, peel.Options{Verifier: trusting(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	b, err := im.Prepare(context.Background(), peel.Additions{Addons: overlays})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n := len(b.Payload.DTBOverlays); n != 2 || b.Payload.DTBOverlays[0].Origin != "1.addon.efi/.dtb" || !b.Payload.DTBOverlays[1].Outside {
		t.Fatalf("overlays = %d, %+v, want those of two addons", n, b.Payload.DTBOverlays)
	}
	got := handedOver(t, b, m)
	want, err := fdt.Parse(testkit.Run(t, dir, "fdtoverlay", "-i", base, "-o", "-", one, two))
	if err != nil {
		t.Fatal(err)
	}
	for path, prop := range map[string]string{"/bus/serial": "status", "/bus/added": "order", "/": "compatible"} {
		x, ok1 := want.Lookup(path)
		y, ok2 := got.Lookup(path)
		if !ok1 || !ok2 {
			t.Errorf("%s: %v by fdtoverlay, %v by peel", path, ok1, ok2)
			continue
		}
		tx, _ := x.Text(prop)
		if ty, _ := y.Text(prop); tx != ty || tx == "" {
			t.Errorf("%s of %s = %q, fdtoverlay has %q", prop, path, ty, tx)
		}
	}
	// kexec_file_load could not hand the tree over.
	if l, err := b.Choose(m, peel.LoadOptions{}); err == nil && l.Choice.Route != kexec.RouteSegments {
		t.Errorf("Choose() = %s, want kexec_load", l.Choice.Route)
	}
}

// handedOver is the device tree in the plan for a machine.
func handedOver(t *testing.T, b *peel.Boot, m *machine.Machine) *fdt.Tree {
	t.Helper()
	p, err := b.Plan(m, boot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Segments {
		if fdt.Is(s.Data) {
			tree, err := fdt.Parse(s.Data)
			if err != nil {
				t.Fatal(err)
			}
			return tree
		}
	}
	t.Fatal("the plan has no device tree")
	return nil
}
