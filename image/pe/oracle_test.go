// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
)

// real returns images as distributions ship them and as tools make them.
func real(t *testing.T) map[string]string {
	zboot := func(name string) string { return filepath.Join("..", "zboot", "testdata", name) }
	return map[string]string{
		"kernel signed 6.12":   testkit.Kernel(t, "amd64", "6.12"),
		"kernel signed 6.1":    testkit.Kernel(t, "amd64", "6.1"),
		"kernel unsigned":      testkit.Kernel(t, "amd64", "6.12-unsigned"),
		"kernel arm64":         testkit.Kernel(t, "arm64", "6.12"),
		"shim, two signatures": testkit.Shim(t),
		"shim unsigned":        testkit.UnsignedShim(t, "shimx64.efi"),
		"systemd-boot":         testkit.SystemdBoot(t, "amd64", "trixie"),
		"systemd-boot 252":     testkit.SystemdBoot(t, "amd64", "bookworm"),
		"stub 252, odd size":   testkit.Stub(t, "amd64", "bookworm"),
		"stub":                 testkit.Stub(t, "amd64", "trixie"),
		"stub arm64":           testkit.Stub(t, "arm64", "trixie"),
		"addon stub arm64":     testkit.AddonStub(t, "arm64", "trixie"),
		"zboot gzip":           zboot("vmlinuz-arm64-6.12-gzip.efi"),
		"zboot xz":             zboot("vmlinuz-arm64-6.1-xz.efi"),
		"zboot lzo":            zboot("vmlinuz-arm64-6.1-lzo.efi"),
		"UKI by ukify":         testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "quiet"}),
		"UKI by objcopy":       testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "quiet", Objcopy: true}),
	}
}

func digest(t *testing.T, path string, h crypto.Hash) string {
	t.Helper()
	f, err := Parse(testkit.ReadFile(t, path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if gaps := f.Unhashed(); len(gaps) > 0 {
		t.Errorf("Unhashed(%s) = %v, want none", path, gaps)
	}
	d, err := f.Digest(h)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return hex.EncodeToString(d)
}

// TestDigestPesign compares with pesign, which computes the digest of
// unsigned images too: of the file as it is (-p), and of the file padded for
// signing (-P). It knows SHA-1 and SHA-256 only.
func TestDigestPesign(t *testing.T) {
	tool := testkit.Tool(t, "pesign")
	odd := 0
	for name, path := range real(t) {
		f, err := Parse(testkit.ReadFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Raw)%8 != 0 {
			odd++
		}
		for h, flag := range map[crypto.Hash]string{crypto.SHA1: "sha1", crypto.SHA256: "sha256"} {
			for pad, digest := range map[string]func(crypto.Hash) ([]byte, error){"-p": f.Digest, "-P": f.SigningDigest} {
				out, err := exec.Command(tool, "-h", pad, "-d", flag, "-i", path).CombinedOutput()
				if err != nil {
					t.Fatalf("%s: pesign: %v\n%s", name, err, out)
				}
				if got, err := digest(h); err != nil || !strings.Contains(string(out), hex.EncodeToString(got)) {
					t.Errorf("%s: digest(%v) = %x, %v, pesign %s says %s", name, h, got, err, pad, out)
				}
			}
		}
	}
	if odd == 0 {
		t.Error("no image of a length that needs padding was tried")
	}
}

// osslDigest returns what osslsigncode computes over a signed image, with the
// hash of its signature.
func osslDigest(t *testing.T, path string) string {
	t.Helper()
	text, _ := exec.Command(testkit.Tool(t, "osslsigncode"), "verify", "-in", path).CombinedOutput()
	m := regexp.MustCompile(`(?i)calculated message digest\s*:\s*([0-9a-f]+)`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s: osslsigncode says no digest:\n%s", path, text)
	}
	return strings.ToLower(string(m[1]))
}

// TestDigestSigned signs each image with sbsign, which checks it, and
// compares with what osslsigncode computes over the result.
func TestDigestSigned(t *testing.T) {
	key := testkit.NewKey(t, "peel test")
	for name, path := range real(t) {
		f, err := Parse(testkit.ReadFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		list, err := f.Certificates()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 {
			if got, want := digest(t, path, crypto.SHA256), osslDigest(t, path); got != want {
				t.Errorf("%s: Digest() = %s, osslsigncode says %s", name, got, want)
			}
		}
		// osslsigncode does not look at a table of two entries.
		for range list {
			path = testkit.Unsign(t, path)
		}
		out := testkit.Sign(t, key, path)
		unsigned, err := Parse(testkit.ReadFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unsigned.SigningDigest(crypto.SHA256); err != nil || hex.EncodeToString(got) != digest(t, out, crypto.SHA256) {
			t.Errorf("%s: SigningDigest() = %x, %v, want the Digest of the signed image", name, got, err)
		}
		if got, want := digest(t, out, crypto.SHA256), osslDigest(t, out); got != want {
			t.Errorf("%s: Digest() = %s, osslsigncode says %s", name, got, want)
		}
		testkit.Run(t, "", "sbverify", "--cert", key.CertPEM, out)
	}
}

// TestDigestLong takes SHA-384 and SHA-512 from signatures that osslsigncode
// makes.
func TestDigestLong(t *testing.T) {
	key := testkit.NewKey(t, "peel test")
	in := testkit.Stub(t, "amd64", "bookworm")
	for h, flag := range map[crypto.Hash]string{crypto.SHA1: "sha1", crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"} {
		out := filepath.Join(t.TempDir(), flag+".efi")
		testkit.Run(t, "", "osslsigncode", "sign", "-h", flag, "-key", key.KeyPEM, "-certs", key.CertPEM, "-in", in, "-out", out)
		if got, want := digest(t, out, h), osslDigest(t, out); got != want {
			t.Errorf("Digest(%v) = %s, osslsigncode says %s", h, got, want)
		}
	}
}

// TestCheckSumOracle takes the images whose CheckSum their builder set.
func TestCheckSumOracle(t *testing.T) {
	for _, path := range []string{testkit.Shim(t)} {
		f, err := Parse(testkit.ReadFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := exec.Command(testkit.Tool(t, "osslsigncode"), "verify", "-in", path).CombinedOutput()
		stored, computed := fmt.Sprintf("%08X", f.CheckSum), fmt.Sprintf("%08X", CheckSumOf(f))
		if !bytes.Contains(text, []byte(stored)) || !bytes.Contains(text, []byte(computed)) {
			t.Errorf("CheckSum %s, computed %s; osslsigncode says\n%s", stored, computed, text)
		}
	}
}

// TestBuildUKIOracle appends sections to a real stub and has objcopy take
// them out again; sbsign and sbverify must accept the image.
func TestBuildUKIOracle(t *testing.T) {
	f, err := Parse(testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie")))
	if err != nil {
		t.Fatal(err)
	}
	b, err := FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string][]byte{
		".cmdline": []byte("quiet root=/dev/vda"),
		".initrd":  bytes.Repeat([]byte("0123456789abcdef"), 5000),
		".linux":   testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12")),
	}
	for _, name := range []string{".cmdline", ".initrd", ".linux"} {
		if err := b.Add(NewSection{Name: name, Data: [][]byte{parts[name]}, Characteristics: SectionInitializedData | SectionRead}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "uki.efi")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.WriteTo(out); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range parts {
		part := filepath.Join(dir, "part")
		testkit.Run(t, dir, "objcopy", "-O", "binary", "--only-section="+name, path, part)
		if got := testkit.ReadFile(t, part); !bytes.Equal(got, want) {
			t.Errorf("objcopy takes %d bytes of %s out, want %d", len(got), name, len(want))
		}
	}
	key := testkit.NewKey(t, "peel test")
	digest(t, testkit.Sign(t, key, path), crypto.SHA256)
}

// TestCertificatesReal counts the signatures on real images.
func TestCertificatesReal(t *testing.T) {
	for _, tc := range []struct {
		path string
		want int
	}{
		{testkit.Shim(t), 2},
		{testkit.Kernel(t, "amd64", "6.12"), 1},
		{testkit.Kernel(t, "amd64", "6.12-unsigned"), 0},
	} {
		f, err := Parse(testkit.ReadFile(t, tc.path))
		if err != nil {
			t.Fatal(err)
		}
		list, err := f.Certificates()
		if err != nil || len(list) != tc.want {
			t.Errorf("Certificates(%s) = %d, %v, want %d", filepath.Base(tc.path), len(list), err, tc.want)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	img := sample(b, amd64, NewSection{Name: ".initrd", Data: [][]byte{make([]byte, 32<<20)}})
	f, err := Parse(img)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(img)))
	for b.Loop() {
		if _, err := f.Digest(crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}
