// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/parser"
	"github.com/peelboot/peel/parser/stock"
)

const realZboot = "../image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi"

// arm64Image returns an Image of size bytes that is a PE image as well, for
// an image size of memory.
func arm64Image(t testing.TB, size int, memory uint64) []byte {
	t.Helper()
	dos := make([]byte, 64)
	copy(dos, "MZ")
	binary.LittleEndian.PutUint64(dos[16:], memory)
	binary.LittleEndian.PutUint64(dos[24:], 10)
	copy(dos[56:], "ARM\x64")
	b := pe.NewBuilder(pe.Options{DOS: dos, Machine: 0xaa64, EntryPoint: 4096})
	text := make([]byte, size)
	copy(text, "Linux version 6.99.1-peel (somebody@somewhere) #1\n")
	for i := 100; i < len(text); i++ {
		text[i] = byte(i * i >> 7)
	}
	if err := b.Add(pe.NewSection{Name: ".text", Data: [][]byte{text}, Characteristics: pe.SectionCode | pe.SectionExecute | pe.SectionRead}); err != nil {
		t.Fatal(err)
	}
	return layoutBytes(t, b)
}

// unpack returns the kernel in a zboot image.
func unpack(t testing.TB, path string) []byte {
	t.Helper()
	z, err := zboot.Parse(testkit.ReadFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	m, err := decompress(z.Payload())
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(m.Bytes())
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if n, ok := z.UncompressedSize(); !ok || int(n) != len(b) {
		t.Errorf("size behind the payload = %d, %v, want %d", n, ok, len(b))
	}
	return b
}

// The payload gives the kernel back, padded to its size in memory, by our
// decoder, by the tools', and by the parser programs that boots rest on.
func TestZboot(t *testing.T) {
	kernel := arm64Image(t, 1<<20, 3<<20)
	want := append(bytes.Clone(kernel), make([]byte, 3<<20-len(kernel))...)
	for _, c := range []struct{ method, tool string }{{"gzip", "gzip"}, {"zstd", "zstd"}} {
		p := write(t, &Zboot{Kernel: Bytes(kernel), Method: c.method})
		if got := unpack(t, p); !bytes.Equal(got, want) {
			t.Errorf("%s: payload of 0x%x bytes, want 0x%x", c.method, len(got), len(want))
		}
		z, err := zboot.Parse(testkit.ReadFile(t, p))
		if err != nil {
			t.Fatal(err)
		}
		if got := testkit.Run(t, "", c.tool, "-dc", testkit.WriteFile(t, "payload", z.Payload())); !bytes.Equal(got, want) {
			t.Errorf("%s of the payload = 0x%x bytes, want 0x%x", c.tool, len(got), len(want))
		}
		again := write(t, &Zboot{Kernel: Bytes(kernel), Method: c.method})
		if !bytes.Equal(testkit.ReadFile(t, p), testkit.ReadFile(t, again)) {
			t.Errorf("%s: the same kernel gave another image", c.method)
		}
	}
	p := write(t, &Zboot{Kernel: Bytes(kernel), From: File(realZboot)})
	if got := unpack(t, p); !bytes.Equal(got, want) {
		t.Errorf("transplanted: payload of 0x%x bytes, want 0x%x", len(got), len(want))
	}
	old, f := parsePE(t, realZboot), parsePE(t, p)
	if len(f.Raw) != len(old.Raw) || f.CheckSum != pe.CheckSumOf(f) {
		t.Errorf("transplanted: 0x%x bytes, checksum 0x%x, want 0x%x and 0x%x", len(f.Raw), f.CheckSum, len(old.Raw), pe.CheckSumOf(f))
	}
	z, err := zboot.Parse(old.Raw)
	if err != nil {
		t.Fatal(err)
	}
	end := z.PayloadOffset + z.PayloadSize
	if got := binary.LittleEndian.Uint32(f.Raw[end-4:]); int(got) != len(want) {
		t.Errorf("size where the decompressor looks = 0x%x, want 0x%x", got, len(want))
	}
	// gzip's own stream fits to the byte and gives the real image again.
	real := unpack(t, realZboot)
	packed := testkit.Run(t, "", "gzip", "-9nc", testkit.WriteFile(t, "Image", real))
	p = write(t, &Zboot{Kernel: Bytes(packed), From: File(realZboot)})
	if !bytes.Equal(testkit.ReadFile(t, p)[end:], old.Raw[end:]) || !bytes.Equal(unpack(t, p), real) {
		t.Error("the real kernel's own stream did not give the kernel back")
	}
}

// A decompressor of zstd is handed everything up to the end of its room, so
// the stream and what fills the rest must be frames, whatever the gap.
func TestZbootZstdRoom(t *testing.T) {
	small := arm64Image(t, 1<<20, 1<<20+8192)
	stream, _, err := compress(context.Background(), "zstd", [][]byte{small}, 1<<20+8192-uint64(len(small)))
	if err != nil {
		t.Fatal(err)
	}
	for gap := range 20 {
		l, err := headerOnly("zstd", 0xaa64, make([]byte, len(stream)+gap), 1)
		if err != nil {
			t.Fatal(err)
		}
		var from bytes.Buffer
		if _, err := l.WriteTo(&from); err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(t.TempDir(), "out.efi")
		err = tryWrite(t, &Zboot{Kernel: Bytes(small), From: Bytes(from.Bytes())}, p)
		if gap > 0 && gap < skippableHeader {
			if !errors.Is(err, ErrLimit) {
				t.Errorf("gap of %d: %v, want %v", gap, err, ErrLimit)
			}
			leftovers(t, filepath.Dir(p))
			continue
		}
		if err != nil {
			t.Errorf("gap of %d: %v", gap, err)
			continue
		}
		z, err := zboot.Parse(testkit.ReadFile(t, p))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(z.Payload()); got != len(stream)+gap {
			t.Errorf("gap of %d: payload of %d bytes, want the whole room of %d", gap, got, len(stream)+gap)
		}
		got := testkit.Run(t, "", "zstd", "-dc", testkit.WriteFile(t, "payload", z.Payload()))
		if !bytes.HasPrefix(got, small) || len(got) != 1<<20+8192 || !bytes.Equal(unpack(t, p), got) {
			t.Errorf("gap of %d: zstd gives %d bytes, want the kernel's %d", gap, len(got), 1<<20+8192)
		}
	}
}

// The kernel inside is signed, and the signature holds after unpacking.
func TestInnerSignature(t *testing.T) {
	k := testkit.NewKey(t, "kexec only")
	sig := Signature{Key: sign.Key{Signer: k.Signer, Certificate: k.Cert}, Options: sign.Options{Hash: crypto.SHA256}}
	kernel := arm64Image(t, 1<<20, 3<<20)
	first := write(t, &Zboot{Kernel: Bytes(kernel)})
	for name, p := range map[string]string{
		"zboot": write(t, &Zboot{Kernel: Bytes(kernel), SignKernel: []Signature{sig}}),
		"inner": write(t, &SignInner{Image: File(first), Sign: []Signature{sig}}),
	} {
		f, err := pe.Parse(unpack(t, p)[:])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		in := testkit.WriteFile(t, "kernel.efi", f.Trimmed())
		testkit.Run(t, "", "sbverify", "--cert", k.CertPEM, in)
	}
	u := write(t, spec(t))
	p := write(t, &SignInner{Image: File(u), Sign: []Signature{sig}})
	testkit.Run(t, "", "sbverify", "--cert", k.CertPEM, testkit.WriteFile(t, "kernel.efi", []byte(find(t, p, ".linux"))))
}

// A parser program goes into a zboot image, whose payload is still found.
func TestParserSection(t *testing.T) {
	program := stock.Skeletons()[0]
	for _, path := range []string{realZboot, "../image/zboot/testdata/vmlinuz-arm64-6.1-xz.efi", "../image/zboot/testdata/vmlinuz-arm64-6.1-lzo.efi"} {
		p := write(t, &Parser{Image: File(path), Program: Bytes(program)})
		if got := find(t, p, ".bpf"); got != string(program) {
			t.Errorf("%s: .bpf of %d bytes, want %d", path, len(got), len(program))
		}
		a, err := zboot.Parse(testkit.ReadFile(t, p))
		if err != nil {
			t.Fatal(err)
		}
		b, err := zboot.Parse(testkit.ReadFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Payload(), b.Payload()) {
			t.Errorf("%s: another payload at 0x%x", path, a.PayloadOffset)
		}
		if twice := write(t, &Parser{Image: File(p), Program: Bytes(program)}); !bytes.Equal(testkit.ReadFile(t, twice), testkit.ReadFile(t, p)) {
			t.Errorf("%s: replacing the program by itself gave another image", path)
		}
	}
}

// The stock programs take envelopes apart.
func TestEnvelope(t *testing.T) {
	kernel := arm64Image(t, 100001, 3<<20)
	for _, c := range []struct {
		name string
		e    Envelope
		line string
	}{
		{"all", Envelope{Kernel: Bytes(kernel), Initrd: Text("the initrd"), Cmdline: Text("quiet")}, "quiet"},
		{"kernel", Envelope{Kernel: Bytes(kernel)}, ""},
		{"zboot", Envelope{Kernel: File(write(t, &Zboot{Kernel: Bytes(kernel)})), Initrd: Text("the initrd"), Cmdline: Text("x y")}, "x y"},
	} {
		b := testkit.ReadFile(t, write(t, &c.e))
		p, err := parser.Decompose(context.Background(), b, parser.Options{})
		if err != nil {
			t.Errorf("%s: Decompose = %v", c.name, err)
			continue
		}
		if !bytes.HasPrefix(p.Kernel.Data, kernel) || p.Cmdline != c.line || len(p.Initrds) == 1 != c.e.Initrd.IsSet() {
			t.Errorf("%s: kernel of 0x%x bytes, %d initrds, command line %q, want %q", c.name, len(p.Kernel.Data), len(p.Initrds), p.Cmdline, c.line)
		}
	}
	u := write(t, spec(t))
	addon := write(t, &UKI{Stub: File(testkit.AddonStub(t, "amd64", "trixie")), Cmdline: Text("debug")})
	b := testkit.ReadFile(t, write(t, &Envelope{UKI: File(u), Addons: []Content{File(addon)}}))
	p, err := parser.Decompose(context.Background(), b, parser.Options{})
	if err != nil || p.Cmdline != "quiet debug" {
		t.Errorf("Decompose(UKI envelope) = %+v, %v, want the command line quiet debug", p, err)
	}
	out := string(testkit.Run(t, "", "readelf", "-SW", write(t, &Envelope{Images: []SignedContent{{Content: File(u)}, {Content: File(addon), IMA: Bytes(append([]byte{4, 4}, make([]byte, 32)...))}}})))
	for _, n := range []string{".pe.1", ".pe.2", ".ima", ".shstrtab"} {
		if !bytes.Contains([]byte(out), []byte(n)) {
			t.Errorf("readelf = %s, want %s", out, n)
		}
	}
}

func TestZbootErrors(t *testing.T) {
	small := arm64Image(t, 1000, 1<<20)
	wrong := bytes.Clone(small)
	pe0 := binary.LittleEndian.Uint32(wrong[0x3c:])
	binary.LittleEndian.PutUint16(wrong[pe0+4:], 0x5064) // riscv64 in an arm64 Image
	huge := bytes.Clone(small)
	binary.LittleEndian.PutUint64(huge[16:], 1<<60)
	big := arm64Image(t, 8<<20, 9<<20)
	x := uint32(1)
	for i := 8192; i < len(big); i++ {
		x = x*1664525 + 1013904223
		big[i] = byte(x >> 24)
	}
	for _, c := range []struct {
		name string
		b    builder
		want error
	}{
		{"no kernel", &Zboot{}, ErrMissing},
		{"text", &Zboot{Kernel: Text("This is no kernel.")}, ErrPart},
		{"bzImage", &Zboot{Kernel: File(testkit.Kernel(t, "amd64", "6.12"))}, ErrPart},
		{"zboot in zboot", &Zboot{Kernel: File(realZboot)}, ErrPart},
		{"absurd size", &Zboot{Kernel: Bytes(huge)}, ErrPart},
		{"2 GiB of BSS", &Zboot{Kernel: Bytes(arm64Image(t, 1000, 1<<31))}, ErrLimit},
		{"too big for the decompressor", &Zboot{Kernel: Bytes(big), From: File(realZboot)}, ErrLimit},
		{"other architecture", &Zboot{Kernel: Bytes(wrong), From: File(realZboot)}, ErrArch},
		{"other method", &Zboot{Kernel: Bytes(small), From: File(realZboot), Method: "zstd"}, ErrPart},
		{"unknown method", &Zboot{Kernel: Bytes(small), Method: "rar"}, ErrPart},
		{"not from zboot", &Zboot{Kernel: Bytes(small), From: Bytes(small)}, ErrStub},
		{"envelope of nothing", &Envelope{}, ErrPart},
		{"envelope of two kinds", &Envelope{Kernel: Bytes(small), UKI: Bytes(small)}, ErrPart},
		{"bad IMA", &Envelope{Images: []SignedContent{{Content: Bytes(small), IMA: Text("junk")}}}, ErrPart},
		{"addons without end", &Envelope{UKI: Bytes(small), Addons: make([]Content, 14)}, ErrLimit},
		{"program is text", &Parser{Image: File(realZboot), Program: Text("text")}, ErrPart},
	} {
		dir := t.TempDir()
		if err := tryWrite(t, c.b, filepath.Join(dir, "out")); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		leftovers(t, dir)
	}
}

// What is compressed is read back before it becomes an image.
func TestUnpacks(t *testing.T) {
	data := [][]byte{bytes.Repeat([]byte("kernel "), 1000), []byte("table")}
	for _, method := range []string{"gzip", "zstd"} {
		stream, _, err := compress(context.Background(), method, data, 100)
		if err != nil {
			t.Fatal(err)
		}
		if err := unpacks(stream, data, 100); err != nil {
			t.Errorf("unpacks(%s) = %v", method, err)
		}
		for _, c := range []struct {
			data [][]byte
			pad  uint64
		}{{data, 99}, {data, 101}, {data[:1], 105}, {[][]byte{data[0], []byte("tablet")}, 99}, {[][]byte{data[1]}, 100}} {
			if err := unpacks(stream, c.data, c.pad); !errors.Is(err, ErrPart) {
				t.Errorf("unpacks(%s of other data, 0x%x) = %v, want %v", method, c.pad, err, ErrPart)
			}
		}
		if err := unpacks(stream[:len(stream)-20], data, 100); err == nil {
			t.Errorf("unpacks(%s cut short) = nil, want an error", method)
		}
	}
}

// The image is opened once: the kernel of one must not get into another that
// took its name meanwhile.
func TestSignInnerReadsOnce(t *testing.T) {
	k := testkit.NewKey(t, "kexec only")
	sig := Signature{Key: sign.Key{Signer: k.Signer, Certificate: k.Cert}}
	for name, p := range map[string]string{"UKI": write(t, spec(t)), "zboot": realZboot} {
		image := testkit.ReadFile(t, p)
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := exec.Command("mkfifo", pipe).Run(); err != nil {
			t.Fatal(err)
		}
		// Who opens the pipe a second time finds nobody and waits.
		go func() { _ = os.WriteFile(pipe, image, 0) }()
		done := make(chan []byte)
		go func() {
			defer close(done)
			out := pipe + ".out"
			if err := tryWrite(t, &SignInner{Image: File(pipe), Sign: []Signature{sig}}, out); err != nil {
				t.Errorf("%s: SignInner of a pipe = %v", name, err)
				return
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Error(err)
			}
			done <- b
		}()
		want := testkit.ReadFile(t, write(t, &SignInner{Image: File(p), Sign: []Signature{sig}}))
		select {
		case got := <-done:
			if !bytes.Equal(got, want) {
				t.Errorf("%s: SignInner of a pipe gave another image than of a file", name)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: SignInner opens its image twice", name)
		}
	}
}
