// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
)

// trusting returns a verifier that enforces and knows the given keys.
func trusting(keys ...*testkit.Key) *trust.Verifier {
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	for _, k := range keys {
		v.Keys.Allow = append(v.Keys.Allow, trust.List{Name: k.Cert.Subject.CommonName, Scope: trust.ScopeOperator})
		l := &v.Keys.Allow[len(v.Keys.Allow)-1]
		l.AddCertificate(k.Cert.Raw)
	}
	return v
}

// signed returns a UKI of a real kernel and stub with its signer and initrd.
func signed(t *testing.T, o testkit.UKIOptions) (path string, key *testkit.Key) {
	t.Helper()
	key = testkit.NewKey(t, "site")
	o.Key = key
	return testkit.UKI(t, o), key
}

const line = "console=ttyS0 quiet root=LABEL=x"

func TestPrepare(t *testing.T) {
	kernel := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12"))
	initrd := bytes.Repeat([]byte("initrd\n"), 5001)
	for _, objcopy := range []bool{false, true} {
		path, key := signed(t, testkit.UKIOptions{Initrd: initrd, Cmdline: line, Objcopy: objcopy})
		im, err := peel.Open(path, peel.Options{Verifier: trusting(key)})
		if err != nil {
			t.Fatal(err)
		}
		defer im.Close()
		// What happens to the file afterwards must not matter.
		if err := os.WriteFile(path, []byte("swapped"), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := im.Prepare(context.Background(), peel.Additions{})
		if err != nil {
			t.Fatalf("objcopy %v: Prepare: %v", objcopy, err)
		}
		defer b.Close()
		if got := contents(t, b.Kernel); !bytes.Equal(got, kernel) {
			t.Errorf("objcopy %v: kernel = %d bytes, want the %d that went in", objcopy, len(got), len(kernel))
		}
		if got, want := contents(t, b.RAMDisk), withOSRelease(t, initrd); !bytes.Equal(got, want) {
			t.Errorf("objcopy %v: RAM disk = %d bytes, want the %d that went in and the stub's archive, %d", objcopy, len(got), len(initrd), len(want))
		}
		if b.Cmdline != line {
			t.Errorf("objcopy %v: command line = %q, want %q", objcopy, b.Cmdline, line)
		}
		if b.Payload.Arch != image.ArchX86_64 {
			t.Errorf("objcopy %v: arch = %q, want x86_64", objcopy, b.Payload.Arch)
		}
		if n := len(b.Report.Layers); n != 2 || b.Report.Verdict != trust.Allowed {
			t.Errorf("objcopy %v: report has %d layers and verdict %s, want image and kernel allowed", objcopy, n, b.Report.Verdict)
		}
	}
}

// withOSRelease is an initrd with what systemd's stub puts behind it of
// testkit's images: their os-release as a file.
func withOSRelease(t *testing.T, initrd []byte) []byte {
	t.Helper()
	b, err := beside.Meta().Pack(beside.Member{Name: "os-release", Data: []byte("ID=peel-test\nNAME=\"peel test\"\nVERSION_ID=1\n")})
	if err != nil {
		t.Fatal(err)
	}
	return append(append(bytes.Clone(initrd), make([]byte, -len(initrd)&3)...), b...)
}

func contents(t *testing.T, file func() (*os.File, error)) []byte {
	t.Helper()
	f, err := file()
	if err != nil {
		t.Fatal(err)
	}
	if f == nil {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0}, 0); err == nil {
		t.Errorf("%s can be written to, want it sealed", f.Name())
	}
	return b
}

func TestRefused(t *testing.T) {
	path, key := signed(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: line})
	plain := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: line})
	good := testkit.ReadFile(t, path)
	for _, c := range []struct {
		name string
		path string
		v    *trust.Verifier
		want error
	}{
		{"no verifier", path, nil, trust.ErrUnknownSigner},
		{"stranger", path, trusting(testkit.NewKey(t, "stranger")), trust.ErrUnknownSigner},
		{"unsigned", plain, trusting(key), trust.ErrNoSignature},
		{"flipped", testkit.FlipSection(t, path, ".initrd", 2), trusting(key), trust.ErrDigestMismatch},
		{"truncated", testkit.WriteFile(t, "half.efi", good[:len(good)/2]), trusting(key), peel.ErrBroken},
		{"text", testkit.WriteFile(t, "text.efi", []byte("hello\n")), trusting(key), peel.ErrNotImage},
		{"empty", testkit.WriteFile(t, "empty.efi", nil), trusting(key), peel.ErrNotImage},
	} {
		t.Run(c.name, func(t *testing.T) {
			im, err := peel.Open(c.path, peel.Options{Verifier: c.v})
			if err != nil {
				t.Fatal(err)
			}
			defer im.Close()
			if _, err := im.Verify(); !errors.Is(err, c.want) {
				t.Errorf("Verify() = %v, want %v", err, c.want)
			}
			if d, err := im.Decompose(context.Background()); !errors.Is(err, c.want) || d != nil {
				t.Errorf("Decompose() = %v, %v, want nothing and %v", d, err, c.want)
			}
			b, err := im.Prepare(context.Background(), peel.Additions{})
			if !errors.Is(err, c.want) || b != nil && b.Decomposition != nil {
				t.Errorf("Prepare() = %v, %v, want no payload and %v", b, err, c.want)
			}
		})
	}
}

func TestAdditions(t *testing.T) {
	path, key := signed(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: line})
	add := peel.Additions{
		Initrds: []peel.File{{Name: "more", Data: []byte("more")}, {Name: "most", Data: []byte("most")}},
		Append:  &peel.File{Name: "--append", Data: []byte("debug")},
	}
	im, err := peel.Open(path, peel.Options{Verifier: trusting(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	b, err := im.Prepare(context.Background(), add)
	if !errors.Is(err, trust.ErrRefused) {
		t.Fatalf("Prepare under enforce: %v, want ErrRefused", err)
	}
	if b == nil || b.Report == nil || b.Report.Verdict != trust.Refused {
		t.Fatalf("Prepare under enforce: no report of the refusal: %+v", b)
	}

	v := trusting(key)
	v.Policy.SetMode(trust.Warn, "test")
	im, err = peel.Open(path, peel.Options{Verifier: v})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if b, err = im.Prepare(context.Background(), add); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if want := line + " debug"; b.Cmdline != want {
		t.Errorf("command line = %q, want %q", b.Cmdline, want)
	}
	// Each archive begins at a multiple of four.
	if got, want := string(contents(t, b.RAMDisk)), string(withOSRelease(t, []byte("initrd")))+"moremost"; got != want {
		t.Errorf("RAM disk = %q, want %q", got, want)
	}
	if b.Report.Verdict != trust.Unverified {
		t.Errorf("verdict = %s, want unverified", b.Report.Verdict)
	}

	add = peel.Additions{Cmdline: &peel.File{Name: "--cmdline", Data: []byte("single")}}
	if b, err = im.Prepare(context.Background(), add); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Cmdline != "single" {
		t.Errorf("command line = %q, want it replaced", b.Cmdline)
	}
}

func TestPartSignedByItself(t *testing.T) {
	path, key := signed(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: line})
	extra := testkit.WriteFile(t, "extra.img", []byte("extra initrd"))
	testkit.Run(t, filepath.Dir(extra), "openssl", "cms", "-sign", "-binary", "-in", extra, "-signer", key.CertPEM,
		"-inkey", key.KeyPEM, "-outform", "DER", "-out", extra+".p7s", "-md", "sha256")
	part, err := peel.OpenPart(extra, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	im, err := peel.Open(path, peel.Options{Verifier: trusting(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	b, err := im.Prepare(context.Background(), peel.Additions{Initrds: []peel.File{part.File}})
	if err != nil {
		t.Fatalf("Prepare with a signed initrd: %v", err)
	}
	b.Close()
	part.Data = append([]byte("x"), part.Data...)
	if _, err := im.Prepare(context.Background(), peel.Additions{Initrds: []peel.File{part.File}}); !errors.Is(err, trust.ErrDigestMismatch) {
		t.Errorf("Prepare with a changed initrd: %v, want ErrDigestMismatch", err)
	}
}

func TestOpenLimit(t *testing.T) {
	path := testkit.WriteFile(t, "big", make([]byte, 4097))
	if _, err := peel.Open(path, peel.Options{Limit: 4096}); err == nil {
		t.Error("Open of 4097 bytes with a limit of 4096 = nil, want an error")
	}
	if _, err := peel.Open(filepath.Join(t.TempDir(), "none"), peel.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of no file: %v, want ErrNotExist", err)
	}
}

// A stub that a linker left symbols in has bytes between its sections once
// sections are added. They are nobody's word: what was there is not parsed.
func TestUncoveredBytesAreZeros(t *testing.T) {
	key := testkit.NewKey(t, "site")
	path := testkit.UKI(t, testkit.UKIOptions{
		Arch: "arm64", Stub: testkit.Stub(t, "arm64", "bookworm"), Kernel: testkit.Kernel(t, "arm64", "6.12"),
		Initrd: []byte("initrd"), Cmdline: line, Key: key,
	})
	im, err := peel.Open(path, peel.Options{Verifier: trusting(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	gaps := im.Info().PE.Unhashed()
	raw := testkit.ReadFile(t, path)
	used := false
	for _, g := range gaps {
		used = used || len(bytes.Trim(raw[g.Offset:g.End()], "\x00")) > 0
	}
	if !used {
		t.Fatalf("the image has no contents between sections: %v; this test needs one that has", gaps)
	}
	r, err := im.Verify()
	if err != nil {
		t.Fatalf("Verify() = %v, want the image allowed", err)
	}
	if len(r.Layers[0].Notes) == 0 {
		t.Error("Verify() says nothing of the bytes it dropped")
	}
	for _, g := range gaps {
		if b := im.Bytes()[g.Offset:g.End()]; len(bytes.Trim(b, "\x00")) > 0 {
			t.Errorf("bytes at 0x%x are %x, want zeros", g.Offset, b[:min(len(b), 16)])
		}
	}
	b, err := im.Prepare(context.Background(), peel.Additions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := string(contents(t, b.RAMDisk)); got != "initrd" || b.Cmdline != line {
		t.Errorf("RAM disk %q, command line %q, want those that went in", got, b.Cmdline)
	}
}
