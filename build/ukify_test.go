// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure/eventlog"
)

// facts are what of a section must agree with ukify's.
type facts struct {
	Name                    string
	VirtualSize, Raw, Flags uint32
	Data                    string
}

func factsOf(f *pe.File) (out []facts) {
	for _, s := range f.Sections {
		data := string(contentsLike(f, s))
		s.VirtualSize -= uint32(len(f.Data(s)) - len(data))
		if len(data) > 200 {
			data = data[:100] + "..." + data[len(data)-100:]
		}
		out = append(out, facts{s.Name, s.VirtualSize, s.SizeOfRawData, s.Characteristics, data})
	}
	return out
}

// contentsLike returns the contents of a section of ukify's, without what we
// leave out or do otherwise: ukify up to 257 ends .sbat with a NUL; those from
// 258 to 262 begin .efifw with one zero byte in place of the magic number by
// which the stub knows it.
func contentsLike(f *pe.File, s pe.Section) []byte {
	b := f.Data(s)
	switch {
	case s.Name == uki.SBAT:
		return bytes.TrimSuffix(b, []byte{0})
	case s.Name == uki.EFIFW && bytes.HasPrefix(b, []byte{0, 16, 0, 0, 0}):
		return append([]byte{0xad, 0xde, 0xed, 0xfe}, b[1:]...)
	}
	return b
}

// same compares an image of ours with ukify's.
func same(t *testing.T, ours, theirs string) {
	t.Helper()
	a, b := parsePE(t, ours), parsePE(t, theirs)
	if diff := cmp.Diff(factsOf(b), factsOf(a)); diff != "" {
		t.Errorf("sections (-ukify +peel):\n%s", diff)
	}
	for i := range a.Sections {
		if i < len(b.Sections) && !bytes.Equal(a.Data(a.Sections[i]), contentsLike(b, b.Sections[i])) {
			t.Errorf("contents of %s differ", a.Sections[i].Name)
		}
	}
	type header struct {
		Machine, Subsystem, Dll, Characteristics uint16
		Entry, SectionAlignment, FileAlignment   uint32
	}
	h := func(f *pe.File) header {
		return header{f.Machine, f.Subsystem, f.DllCharacteristics, f.Characteristics, f.EntryPoint, f.SectionAlignment, f.FileAlignment}
	}
	if diff := cmp.Diff(h(b), h(a)); diff != "" {
		t.Errorf("header (-ukify +peel):\n%s", diff)
	}
	if got, want := a.CheckSum, pe.CheckSumOf(a); got != want {
		t.Errorf("CheckSum = 0x%x, want 0x%x", got, want)
	}
	if bad := Lint(a); len(bad) > 0 {
		t.Errorf("Lint = %q", bad)
	}
}

// The same inputs give ukify's sections, in its order, for each architecture.
func TestUkifyUKI(t *testing.T) {
	dir := t.TempDir()
	osrel := testkit.WriteFile(t, "os-release", []byte("ID=peel-test\nNAME=\"peel test\"\nVERSION_ID=1\n"))
	initrds := []string{testkit.WriteFile(t, "a.cpio", []byte("first initrd, odd.")), testkit.WriteFile(t, "b.cpio", bytes.Repeat([]byte("second "), 5000))}
	ucode := testkit.WriteFile(t, "ucode.cpio", []byte("microcode"))
	splash := testkit.WriteFile(t, "splash.bmp", []byte("BM picture"))
	dtbs := []string{testkit.WriteFile(t, "a.dtb", []byte("tree a")), testkit.WriteFile(t, "b.dtb", []byte("tree b")), testkit.WriteFile(t, "c.dtb", []byte("tree c"))}
	pkey := testkit.WriteFile(t, "pkey.pem", []byte("-----BEGIN PUBLIC KEY-----\n"))
	sbat := "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\nlinux.peel,1,peel,linux,1,https://example.org\n"
	custom := testkit.WriteFile(t, "custom", []byte("custom contents"))
	firmware := filepath.Join(dir, "board.fw")
	ids := testkit.WriteFile(t, "board.json", []byte(`{"type": "uefi-fw", "name": "Board", "fwid": "board.fw", "hwids": ["00112233-4455-6677-8899-aabbccddeeff"]}`))
	if err := os.Mkdir(firmware, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(firmware, "image"), []byte("firmware"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ tool, deb, efi, series, suite string }{
		{"ukify", "amd64", "x64", "6.12", "trixie"}, {"ukify", "arm64", "aa64", "6.12", "trixie"}, {"ukify", "amd64", "x64", "6.1", "forky"},
		{"ukify-new", "amd64", "x64", "6.12", "forky"}, {"ukify-new", "arm64", "aa64", "6.12", "forky"},
	} {
		t.Run(c.tool+" "+c.deb+" "+c.series+" "+c.suite, func(t *testing.T) {
			kernel, stub := testkit.Kernel(t, c.deb, c.series), testkit.Stub(t, c.deb, c.suite)
			theirs := filepath.Join(t.TempDir(), "uki.efi")
			args := []string{"build", "--efi-arch=" + c.efi, "--stub=" + stub, "--linux=" + kernel, "--initrd=" + initrds[0], "--initrd=" + initrds[1],
				"--microcode=" + ucode, "--os-release=@" + osrel, "--cmdline=quiet   root=/dev/vda  ", "--splash=" + splash, "--devicetree=" + dtbs[0],
				"--devicetree-auto=" + dtbs[1], "--devicetree-auto=" + dtbs[2], "--pcrpkey=" + pkey, "--section=.custom:@" + custom, "--section=.text2:some text",
				"--output=" + theirs}
			u := &UKI{
				Stub: File(stub), Linux: File(kernel), Initrds: []Content{File(initrds[0]), File(initrds[1])}, Microcode: []Content{File(ucode)},
				OSRelease: File(osrel), Cmdline: Text(CmdlineText("quiet   root=/dev/vda  ")), Splash: File(splash), DTB: File(dtbs[0]),
				DTBAuto: []Content{File(dtbs[1]), File(dtbs[2])}, PCRPKey: File(pkey),
				Sections: []NamedContent{{".custom", File(custom)}, {".text2", Text("some text")}},
			}
			// Firmware images are from version 258 on.
			if c.tool == "ukify-new" {
				args = append(args, "--efifw="+firmware, "--hwids="+filepath.Dir(ids))
				list, err := ReadHWIDs(filepath.Dir(ids))
				if err != nil {
					t.Fatal(err)
				}
				b, err := HWIDs(list)
				if err != nil {
					t.Fatal(err)
				}
				fw, err := ReadFirmware(firmware)
				if err != nil {
					t.Fatal(err)
				}
				u.HWIDs, u.EFIFW = Bytes(b), []Content{Bytes(fw)}
			}
			testkit.Run(t, "", c.tool, args...)
			ours := write(t, u)
			same(t, ours, theirs)
			if again := write(t, u); !bytes.Equal(testkit.ReadFile(t, ours), testkit.ReadFile(t, again)) {
				t.Error("the same parts gave another image")
			}
		})
	}
	t.Run("sbat", func(t *testing.T) {
		kernel, stub := testkit.Kernel(t, "amd64", "6.12"), testkit.Stub(t, "amd64", "trixie")
		theirs := filepath.Join(dir, "sbat.efi")
		testkit.Run(t, "", "ukify", "build", "--efi-arch=x64", "--stub="+stub, "--linux="+kernel, "--os-release=", "--cmdline=x", "--uname=1.2.3", "--sbat="+sbat, "--output="+theirs)
		same(t, write(t, &UKI{Stub: File(stub), Linux: File(kernel), Cmdline: Text("x"), Uname: Text("1.2.3"), SBAT: []Content{Text(sbat)}}), theirs)
		// The stub of systemd 252 has .sdmagic right behind its .sbat: ukify
		// lets the two overlap, we move .sbat to the end.
		stub = testkit.Stub(t, "amd64", "bookworm")
		f := parsePE(t, write(t, &UKI{Stub: File(stub), Linux: File(kernel), Cmdline: Text("x"), Uname: Text("1.2.3")}))
		if last := f.Sections[len(f.Sections)-1]; last.Name != uki.SBAT || !strings.Contains(string(f.Data(last)), "\nuki,1,") {
			t.Errorf("last section = %s %q, want the merged .sbat", last.Name, f.Data(last))
		}
	})
}

// Addons, hardware IDs and joined profiles as ukify makes them.
func TestUkifyProfiles(t *testing.T) {
	dir := t.TempDir()
	ids := filepath.Join(dir, "hwids")
	if err := os.MkdirAll(filepath.Join(ids, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"b.json":     `{"name": "Test Laptop", "compatible": "peel,laptop", "hwids": ["f3e9c8a0-0102-5304-8506-0708090a0b0c", "00112233-4455-6677-8899-aabbccddeeff"]}`,
		"a.json":     `{"type": "devicetree", "name": "Other", "compatible": "peel,other", "hwids": ["11112233-4455-6677-8899-aabbccddeeff"]}`,
		"sub/c.json": `{"name": "Test Laptop", "compatible": "peel,laptop", "hwids": ["00112233-4455-6677-8899-aabbccddeeff", "90112233-4455-6677-8899-aabbccddeeff"]}`,
		"README":     "no JSON",
	} {
		if err := os.WriteFile(filepath.Join(ids, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := ReadHWIDs(ids)
	if err != nil {
		t.Fatal(err)
	}
	hwids, err := HWIDs(list)
	if err != nil {
		t.Fatal(err)
	}
	stub, addon, kernel := testkit.Stub(t, "amd64", "trixie"), testkit.AddonStub(t, "amd64", "trixie"), testkit.Kernel(t, "amd64", "6.12")
	dtb := testkit.WriteFile(t, "a.dtb", []byte("tree"))
	var ours []Content
	args := []string{"build", "--efi-arch=x64", "--stub=" + stub, "--linux=" + kernel, "--cmdline=base", "--os-release=ID=x", "--uname=1.2.3", "--hwids=" + ids, "--devicetree-auto=" + dtb}
	for _, id := range []string{"one", "two"} {
		text := "ID=" + id + "\nTITLE=\"Boot " + id + "\""
		theirs := filepath.Join(dir, id+".efi")
		testkit.Run(t, "", "ukify", "build", "--stub="+addon, "--efi-arch=x64", "--profile="+text, "--cmdline="+id, "--output="+theirs)
		p := write(t, &UKI{Stub: File(addon), Profile: Text(text), Cmdline: Text(id)})
		same(t, p, theirs)
		ours = append(ours, File(p))
		args = append(args, "--join-profile="+theirs)
	}
	theirs := filepath.Join(dir, "joined.efi")
	testkit.Run(t, "", "ukify", append(args, "--output="+theirs)...)
	u := &UKI{Stub: File(stub), Linux: File(kernel), Cmdline: Text("base"), OSRelease: Text("ID=x"), Uname: Text("1.2.3"),
		HWIDs: Bytes(hwids), DTBAuto: []Content{File(dtb)}, JoinProfiles: ours}
	same(t, write(t, u), theirs)
	if img, err := uki.Read(parsePE(t, write(t, u))); err != nil || len(img.Profiles) != 3 {
		t.Errorf("uki.Read = %+v, %v, want 3 profiles", img, err)
	}

	theirs = filepath.Join(dir, "debug.addon.efi")
	testkit.Run(t, "", "ukify", "build", "--stub="+addon, "--efi-arch=x64", "--cmdline=debug", "--output="+theirs)
	same(t, write(t, &UKI{Stub: File(addon), Cmdline: Text("debug")}), theirs)
}

// systemd-measure finds the PCR 11 of our sections where it finds ukify's:
// both images hold the same, so one calculation has to do for both.
func TestMeasure(t *testing.T) {
	stub, kernel := testkit.Stub(t, "amd64", "trixie"), testkit.Kernel(t, "amd64", "6.12")
	initrd := testkit.WriteFile(t, "initrd", []byte("initrd"))
	p := write(t, &UKI{Stub: File(stub), Linux: File(kernel), Initrds: []Content{File(initrd)}, Cmdline: Text("quiet"), OSRelease: Text("ID=x"), Uname: Text("1.2.3")})
	theirs := filepath.Join(t.TempDir(), "uki.efi")
	out := string(testkit.Run(t, "", "ukify-new", "build", "--efi-arch=x64", "--hwids=", "--stub="+stub, "--linux="+kernel, "--initrd="+initrd, "--cmdline=quiet", "--os-release=ID=x",
		"--uname=1.2.3", "--measure", "--pcr-banks=sha256", "--output="+theirs))
	// ukify reads both the same way.
	inspect := func(p string) (v any) {
		if err := json.Unmarshal(testkit.Run(t, "", "ukify", "inspect", p, "--json=short"), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if diff := cmp.Diff(inspect(theirs), inspect(p)); diff != "" {
		t.Errorf("ukify inspect (-ukify +peel):\n%s", diff)
	}
	f := parsePE(t, p)
	args := []string{"calculate", "--bank=sha256"}
	for _, c := range contentsOf(f) {
		args = append(args, "--"+strings.TrimPrefix(c.Name, ".")+"="+testkit.WriteFile(t, "section", c.data))
	}
	if got := string(testkit.Run(t, "", "systemd-measure", args...)); got == "" || !strings.Contains(out, strings.TrimSpace(got)) {
		t.Errorf("systemd-measure of our sections:\n%swant what ukify --measure says:\n%s", got, out)
	}
}

// The signatures of PCR 11 are those of systemd-measure, called by ukify.
func TestPCRSignatures(t *testing.T) {
	stub, kernel := testkit.Stub(t, "amd64", "trixie"), testkit.Kernel(t, "amd64", "6.12")
	k := testkit.NewKey(t, "pcr")
	theirs := filepath.Join(t.TempDir(), "uki.efi")
	testkit.Run(t, "", "ukify-new", "build", "--efi-arch=x64", "--hwids=", "--stub="+stub, "--linux="+kernel, "--cmdline=quiet", "--os-release=ID=x", "--uname=1.2.3",
		"--pcr-banks=sha256", "--pcr-private-key="+k.KeyPEM, "--pcrpkey="+k.CertPEM, "--phases=enter-initrd enter-initrd:leave-initrd", "--output="+theirs)
	u := &UKI{Stub: File(stub), Linux: File(kernel), Cmdline: Text("quiet"), OSRelease: Text("ID=x"), Uname: Text("1.2.3"), PCRPKey: File(k.CertPEM)}
	keys := []PCRKey{{Signer: k.Signer, Phases: []string{"enter-initrd", "enter-initrd:leave-initrd"}}}
	if err := u.SignPCRs(context.Background(), keys, PCROptions{Banks: []eventlog.Hash{eventlog.SHA256}}); err != nil {
		t.Fatal(err)
	}
	ours := write(t, u)
	read := func(p string) (v any) {
		if err := json.Unmarshal([]byte(find(t, p, uki.PCRSig)), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if diff := cmp.Diff(read(theirs), read(ours)); diff != "" {
		t.Errorf(".pcrsig (-ukify +peel):\n%s", diff)
	}
	var a, b []facts
	for _, s := range factsOf(parsePE(t, ours)) {
		if s.Name != uki.PCRSig {
			a = append(a, s)
		}
	}
	for _, s := range factsOf(parsePE(t, theirs)) {
		if s.Name != uki.PCRSig {
			b = append(b, s)
		}
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("other sections (-ukify +peel):\n%s", diff)
	}
}
