// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
)

// sparse returns the path of a file of n zero bytes that takes no room.
func sparse(t testing.TB, n int64) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(n), f.Close()); err != nil {
		t.Fatal(err)
	}
	return p
}

// withField returns an image with another value in a 32-bit field of a header
// of its section table.
func withField(b []byte, section, field int, v uint32) []byte {
	b = bytes.Clone(b)
	p := binary.LittleEndian.Uint32(b[0x3c:])
	table := p + 24 + uint32(binary.LittleEndian.Uint16(b[p+20:]))
	binary.LittleEndian.PutUint32(b[int(table)+40*section+field:], v)
	return b
}

// Unsuitable parts give an error that says why, and no file.
func TestHostile(t *testing.T) {
	stubPath := testkit.Stub(t, "amd64", "trixie")
	stub, kernel := testkit.ReadFile(t, stubPath), File(testkit.Kernel(t, "amd64", "6.12"))
	at := withField
	f := parsePE(t, stubPath)
	k := testkit.NewKey(t, "db")
	key := sign.Key{Signer: k.Signer, Certificate: k.Cert}
	other := key
	other.Certificate = testkit.NewKey(t, "other").Cert
	many := func(n int) (out []NamedContent) {
		for i := range n {
			out = append(out, NamedContent{Name: ".s" + strings.Repeat("a", i%5) + string(rune('a'+i%26)) + string(rune('0'+i/26%10)), Content: Text("x")})
		}
		return out
	}
	var profiles []Content
	one := File(write(t, &UKI{Stub: File(testkit.AddonStub(t, "amd64", "trixie")), Profile: Text("ID=x")}))
	for range 257 {
		profiles = append(profiles, one)
	}
	for _, c := range []struct {
		name string
		uki  UKI
		sig  []Signature
		want error
	}{
		{"nothing", UKI{}, nil, ErrMissing},
		{"stub is text", UKI{Stub: Text("This is no stub.")}, nil, ErrStub},
		{"stub is cut off", UKI{Stub: Bytes(stub[:5000]), Linux: kernel}, nil, ErrStub},
		{"stub is a directory", UKI{Stub: File(t.TempDir()), Linux: kernel}, nil, nil},
		{"stub is missing", UKI{Stub: File("/nonexistent"), Linux: kernel}, nil, fs.ErrNotExist},
		{"stub is a FIFO's worth too large", UKI{Stub: File(sparse(t, MaxStub+1)), Linux: kernel}, nil, ErrTooLarge},
		{"stub is a UKI", UKI{Stub: File(write(t, spec(t))), Linux: kernel}, nil, ErrStub},
		{"stub is signed", UKI{Stub: File(testkit.Sign(t, k, stubPath)), Linux: kernel}, nil, ErrStub},
		{"sections overlap in the file", UKI{Stub: Bytes(at(stub, 1, 20, f.Sections[0].PointerToRawData)), Linux: kernel}, nil, pe.ErrSectionOverlap},
		{"sections overlap in memory", UKI{Stub: Bytes(at(stub, 1, 12, f.Sections[0].VirtualAddress)), Linux: kernel}, nil, pe.ErrSectionOverlap},
		{"section beyond the file", UKI{Stub: Bytes(at(stub, 0, 16, 0xfffffe00)), Linux: kernel}, nil, pe.ErrSectionBounds},
		{"section ends beyond 4 GiB", UKI{Stub: Bytes(at(stub, 5, 12, 0xfffff000)), Linux: kernel}, nil, pe.ErrSectionMemory},
		{"writable code", UKI{Stub: Bytes(at(stub, 0, 36, 0xe0000020)), Linux: kernel}, nil, ErrLint},
		{"kernel is text", UKI{Stub: File(stubPath), Linux: Text("This is no kernel.")}, nil, ErrPart},
		{"kernel is empty", UKI{Stub: File(stubPath), Linux: Text("")}, nil, ErrPart},
		{"kernel is a UKI", UKI{Stub: File(stubPath), Linux: File(write(t, spec(t)))}, nil, ErrPart},
		{"kernel for another machine", UKI{Stub: File(stubPath), Linux: File(testkit.Kernel(t, "arm64", "6.12"))}, nil, ErrArch},
		{"not the architecture asked for", UKI{Arch: image.ArchARM64, Stub: File(stubPath), Linux: kernel}, nil, ErrArch},
		{"kernel is a broken gzip stream", UKI{Stub: File(stubPath), Linux: Bytes([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03junk that is none"))}, nil, ErrPart},
		{"initrd of 5 GiB", UKI{Stub: File(stubPath), Linux: kernel, Initrds: []Content{File(sparse(t, 5<<30))}}, nil, ErrTooLarge},
		{"two initrds of 1.5 GiB", UKI{Stub: File(stubPath), Linux: kernel, Initrds: []Content{File(sparse(t, 3<<29)), File(sparse(t, 3<<29))}}, nil, ErrLimit},
		{"sections of 4.5 GiB together", UKI{Stub: File(stubPath), Linux: kernel, Initrds: []Content{File(sparse(t, 3<<29))}, Microcode: []Content{File(sparse(t, 3<<29))}, DTB: File(sparse(t, 3<<29))}, nil, pe.ErrBuild},
		{"command line of 2 MiB", UKI{Stub: File(stubPath), Linux: kernel, Cmdline: File(sparse(t, 2<<20))}, nil, ErrTooLarge},
		{"name too long", UKI{Stub: File(stubPath), Linux: kernel, Sections: []NamedContent{{".toolong9", Text("x")}}}, nil, ErrName},
		{"name empty", UKI{Stub: File(stubPath), Linux: kernel, Sections: []NamedContent{{"", Text("x")}}}, nil, ErrName},
		{"name with a NUL", UKI{Stub: File(stubPath), Linux: kernel, Sections: []NamedContent{{".a\x00b", Text("x")}}}, nil, ErrName},
		{"name of the string table", UKI{Stub: File(stubPath), Linux: kernel, Sections: []NamedContent{{"/4", Text("x")}}}, nil, ErrName},
		{"section twice", UKI{Stub: File(stubPath), Linux: kernel, Cmdline: Text("a"), Sections: []NamedContent{{".cmdline", Text("x")}}}, nil, ErrDuplicate},
		{"more sections than headers have room for", UKI{Stub: File(stubPath), Linux: kernel, Sections: many(200)}, nil, pe.ErrNoRoom},
		{"257 profiles", UKI{Stub: File(stubPath), Linux: kernel, JoinProfiles: profiles}, nil, ErrLimit},
		{"profile is text", UKI{Stub: File(stubPath), Linux: kernel, JoinProfiles: []Content{Text("text")}}, nil, ErrPart},
		{"profile is a UKI", UKI{Stub: File(stubPath), Linux: kernel, JoinProfiles: []Content{File(write(t, spec(t)))}}, nil, ErrPart},
		{"SBAT is text", UKI{Stub: File(stubPath), Linux: kernel, SBAT: []Content{Text("text")}}, nil, ErrPart},
		{"addon of nothing", UKI{Stub: File(testkit.AddonStub(t, "amd64", "trixie")), Uname: Text("1")}, nil, ErrMissing},
		{"key of somebody else", UKI{Stub: File(stubPath), Linux: kernel}, []Signature{{Key: other}}, sign.ErrKey},
	} {
		dir := t.TempDir()
		err := tryWrite(t, &c.uki, filepath.Join(dir, "out.efi"), c.sig...)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		leftovers(t, dir)
	}
}

// The same holds for what starts from a finished image.
func TestHostileImages(t *testing.T) {
	huge := File(sparse(t, 5<<30))
	u := write(t, spec(t))
	raw := testkit.ReadFile(t, u)
	f := parsePE(t, u)
	last := len(f.Sections) - 1
	overlap := Bytes(withField(raw, last, 20, f.Sections[0].PointerToRawData))
	beyond := Bytes(withField(raw, last, 16, 0x7ffffe00))
	junk := write(t, &Edit{Image: File(u), Profile: uki.Base, Set: []NamedContent{{".linux", Text("This is no kernel.")}}})
	lying := func(offset, size uint32, payload string) Content {
		b := testkit.ReadFile(t, realZboot)
		binary.LittleEndian.PutUint32(b[8:], offset)
		binary.LittleEndian.PutUint32(b[12:], size)
		copy(b[min(int(offset), len(b)):], payload)
		return Bytes(b)
	}
	k := testkit.NewKey(t, "db")
	sigs := []Signature{{Key: sign.Key{Signer: k.Signer, Certificate: k.Cert}}}
	line := []NamedContent{{".cmdline", Text("x")}}
	program := Text("\x7fELF of no great worth")
	small := Bytes(arm64Image(t, 1000, 1<<20))
	for _, c := range []struct {
		name string
		b    builder
		want error
	}{
		{"resign nothing", &Resign{}, ErrMissing},
		{"resign text", &Resign{Image: Text("This is no image.")}, pe.ErrNotPE},
		{"resign 5 GiB", &Resign{Image: huge}, ErrTooLarge},
		{"resign overlapping sections", &Resign{Image: overlap}, pe.ErrSectionOverlap},
		{"resign a section beyond the file", &Resign{Image: beyond}, pe.ErrSectionBounds},
		{"sign the kernel of nothing", &SignInner{Sign: sigs}, ErrMissing},
		{"sign the kernel of text", &SignInner{Image: Text("This is no image."), Sign: sigs}, pe.ErrNotPE},
		{"sign the kernel of a stub", &SignInner{Image: File(testkit.Stub(t, "amd64", "trixie")), Sign: sigs}, ErrPart},
		{"sign a kernel that is none", &SignInner{Image: File(junk), Sign: sigs}, ErrPart},
		{"sign the kernel of overlapping sections", &SignInner{Image: overlap, Sign: sigs}, pe.ErrSectionOverlap},
		{"zboot payload beyond the file", &SignInner{Image: lying(0x7ffffff0, 4096, ""), Sign: sigs}, zboot.ErrPayload},
		{"zboot payload whose end wraps", &SignInner{Image: lying(0xfffffff0, 0xfffffff0, ""), Sign: sigs}, zboot.ErrPayload},
		{"zboot payload that is no stream", &SignInner{Image: lying(46752, 4096, "This is no stream."), Sign: sigs}, ErrPart},
		{"edit 5 GiB", &Edit{Image: huge, Profile: uki.Base, Set: line}, ErrTooLarge},
		{"edit overlapping sections", &Edit{Image: overlap, Profile: uki.Base, Set: line}, pe.ErrSectionOverlap},
		{"edit in 5 GiB", &Edit{Image: File(u), Profile: uki.Base, Set: []NamedContent{{".initrd", huge}}}, ErrTooLarge},
		{"parser of 5 GiB", &Parser{Image: File(realZboot), Program: huge}, ErrTooLarge},
		{"parser in overlapping sections", &Parser{Image: overlap, Program: program}, pe.ErrSectionOverlap},
		{"parser in a zboot image whose payload is elsewhere", &Parser{Image: lying(0x7ffffff0, 4096, ""), Program: program}, zboot.ErrPayload},
		{"zboot from 5 GiB", &Zboot{Kernel: small, From: huge}, ErrTooLarge},
		{"zboot of 5 GiB", &Zboot{Kernel: huge}, ErrTooLarge},
		{"zboot from a payload beyond the file", &Zboot{Kernel: small, From: lying(0x7ffffff0, 4096, "")}, ErrStub},
		{"envelope with 5 GiB", &Envelope{Kernel: small, Initrd: huge}, ErrTooLarge},
		{"envelope of 4.5 GiB", &Envelope{Images: []SignedContent{{Content: Bytes(raw)}, {Content: File(sparse(t, 3<<29))}}}, ErrPart},
	} {
		dir := t.TempDir()
		err := tryWrite(t, c.b, filepath.Join(dir, "out.efi"), sigs...)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		leftovers(t, dir)
	}
}

// A file appears whole or not at all, and replaces none without leave.
func TestOutput(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "out.efi")
	im, err := spec(t).Build(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	ctx, cancel := context.WithCancel(context.Background())
	last := int64(0)
	err = im.WriteFile(ctx, p, FileOptions{Progress: func(done, total int64) {
		if done <= last || total != im.Size() {
			t.Errorf("Progress(%d, %d) after %d, want more and %d", done, total, last, im.Size())
		}
		last = done
		cancel()
	}})
	if !errors.Is(err, context.Canceled) || last == 0 {
		t.Errorf("WriteFile(cancelled) = %v after %d bytes, want %v", err, last, context.Canceled)
	}
	leftovers(t, dir)
	if err := os.WriteFile(p, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := im.WriteFile(context.Background(), p, FileOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("WriteFile over a file = %v, want %v", err, ErrExists)
	}
	if got := testkit.ReadFile(t, p); string(got) != "mine" {
		t.Errorf("the file holds %q now", got)
	}
	if err := im.WriteFile(context.Background(), p, FileOptions{Replace: true}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if n, err := im.WriteTo(&b); err != nil || n != im.Size() || !bytes.Equal(b.Bytes(), testkit.ReadFile(t, p)) {
		t.Errorf("WriteTo = %d, %v, want the %d bytes of the file", n, err, im.Size())
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Errorf("%d files beside the image, %v, want it alone", len(list), err)
	}
}

// An input that shrinks while it is read is an error, not a crash.
func TestShrunk(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Fatal("files are mapped on Linux; this test must run there")
	}
	p := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(p, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	u := spec(t)
	u.Initrds = []Content{File(p)}
	im, err := u.Build(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if err := os.Truncate(p, 0); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := im.WriteFile(context.Background(), filepath.Join(dir, "out"), FileOptions{}); !errors.Is(err, ErrChanged) {
		t.Errorf("WriteFile = %v, want %v", err, ErrChanged)
	}
	leftovers(t, dir)
}

// A build takes no heap for its parts.
func TestHeap(t *testing.T) {
	u := spec(t)
	u.Initrds = []Content{File(sparse(t, 300<<20))}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	im, err := u.Build(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if err := im.WriteFile(context.Background(), filepath.Join(t.TempDir(), "out"), FileOptions{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("a UKI with an initrd of 300 MiB allocated 0x%x bytes, want a few MiB at most", n)
	}
}

func TestConfig(t *testing.T) {
	c, err := ParseConfig([]byte("# a comment\n[UKI]\nLinux = /boot/vmlinuz   # behind\nInitrd=a b\n  c\nCmdline = one\n two\nLinux=/other\nStrange = x\n  more\n\n[PCRSignature:all]\nPCRPrivateKey=k.pem\n[Else]\nA=b\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Setting{{"Linux", "/other"}, {"Initrd", "a b\nc"}, {"Cmdline", "one\ntwo"}}
	if len(c.UKI) != 3 || c.UKI[0] != want[0] || c.UKI[1] != want[1] || c.UKI[2] != want[2] {
		t.Errorf("UKI = %q, want %q", c.UKI, want)
	}
	if len(c.PCRSignatures) != 1 || c.PCRSignatures[0].Settings[0] != (Setting{"PCRPrivateKey", "k.pem"}) || strings.Join(c.Unknown, ";") != "[UKI] Strange;[Else] A" {
		t.Errorf("PCRSignatures = %+v, Unknown = %q", c.PCRSignatures, c.Unknown)
	}
	for _, s := range []string{"Linux=x", "[UKI", "[UKI]\njunk", "[PCRSignature:a:b]\n", "[UKI]\n=x"} {
		if _, err := ParseConfig([]byte(s)); !errors.Is(err, ErrConfig) {
			t.Errorf("ParseConfig(%q) = %v, want %v", s, err, ErrConfig)
		}
	}
	for s, want := range map[string]bool{"yes": true, "Off": false, "t": true, "0": false} {
		if got, err := ParseBool(s); err != nil || got != want {
			t.Errorf("ParseBool(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	if _, err := ParseBool("maybe"); !errors.Is(err, ErrConfig) {
		t.Errorf("ParseBool(maybe) = %v, want %v", err, ErrConfig)
	}
}

// A file of hardware IDs that is a device says that it is empty, and never
// ends.
func TestHWIDEndlessFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "a.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadHWIDs(dir); !errors.Is(err, ErrTooLarge) {
		t.Errorf("ReadHWIDs(a device) = %v, want %v", err, ErrTooLarge)
	}
}

func TestHWIDErrors(t *testing.T) {
	for _, s := range []string{
		"", "[]", `{"name":"a","compatible":"b"}`, `{"name":"a","hwids":[]}`, `{"name":"a","compatible":"b","hwids":["x"]}`,
		`{"type":"uefi-fw","name":"a","compatible":"b","hwids":[]}`, `{"type":"moon","name":"a","compatible":"b","hwids":[]}`,
	} {
		if _, err := ParseHWIDs([]byte(s)); !errors.Is(err, ErrPart) {
			t.Errorf("ParseHWIDs(%s) = %v, want %v", s, err, ErrPart)
		}
	}
	list, err := ParseHWIDs([]byte(`{"type":"uefi-fw","name":"Board","fwid":"board.fw","hwids":["00112233-4455-6677-8899-aabbccddeeff"]}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := HWIDs(list)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := uki.ParseHWIDs(b); err != nil || len(got) != 1 || got[0] != list[0] || got[0].Type != uki.HWIDFirmware {
		t.Errorf("uki.ParseHWIDs(HWIDs) = %+v, %v, want %+v", got, err, list)
	}
	if _, err := HWIDs([]uki.HWID{{Type: 1, Name: strings.Repeat("x", 256), Compatible: "y"}}); !errors.Is(err, ErrPart) {
		t.Errorf("HWIDs(long name) = %v, want %v", err, ErrPart)
	}
	fw, err := Firmware("board.fw", []byte("code"))
	if want := "\xad\xde\xed\xfe\x10\x00\x00\x00\x09\x00\x00\x00\x04\x00\x00\x00board.fw\x00code"; err != nil || string(fw) != want {
		t.Errorf("Firmware = %q, %v, want %q", fw, err, want)
	}
}
