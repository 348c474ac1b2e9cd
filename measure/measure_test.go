// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure/eventlog"
)

// sections makes a UKI of names and contents, with a stub that says which
// version of systemd it is of.
func sections(t testing.TB, version string, list ...string) []byte {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0x8664})
	if version != "" {
		list = append([]string{".sdmagic", "#### LoaderInfo: systemd-stub " + version + " ####"}, list...)
	}
	for i := 0; i < len(list); i += 2 {
		if err := b.Add(pe.NewSection{Name: list[i], Data: [][]byte{[]byte(list[i+1])}, Characteristics: pe.SectionRead}); err != nil {
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

// calculated is what `systemd-measure calculate --json` says.
type calculated map[string][]struct {
	Phase string `json:"phase"`
	PCR   uint32 `json:"pcr"`
	Hash  string `json:"hash"`
}

// sectionFiles writes the contents of sections to files, as arguments for
// systemd-measure.
func sectionFiles(t *testing.T, list ...string) []string {
	t.Helper()
	var args []string
	for i := 0; i < len(list); i += 2 {
		args = append(args, "--"+list[i][1:]+"="+testkit.WriteFile(t, list[i][1:], []byte(list[i+1])))
	}
	return args
}

func parts() []string {
	return []string{
		".osrel", "ID=peel\n", ".cmdline", "quiet  root=/dev/vda", ".linux", "no kernel at all", ".initrd", "an initrd", ".ucode", "ucode",
		".uname", "6.12", ".sbat", "sbat,1,SBAT Version,sbat,1,https://x\n", ".pcrpkey", "a key", ".splash", "BM", ".dtb", "tree",
	}
}

// TestCalculate: PCR 11 in each phase and bank is what systemd-measure calculates of the same sections.
func TestCalculate(t *testing.T) {
	args := append([]string{"calculate", "--json=short"}, sectionFiles(t, parts()...)...)
	var want calculated
	if err := json.Unmarshal(testkit.Run(t, "", "systemd-measure", args...), &want); err != nil {
		t.Fatal(err)
	}
	p, err := Predict("x.efi", sections(t, "257.1", append(parts(), ".pcrsig", "not measured")...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Cases[0].Phases(eventlog.Banks(), DefaultPhases())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range got {
		for _, w := range want[v.Hash.String()] {
			if w.Phase == v.Phase {
				n++
				if w.Hash != v.Value.String() || w.PCR != v.PCR {
					t.Errorf("Phases(%s, %s) = %s, systemd-measure says %s", v.Hash, v.Phase, v.Value, w.Hash)
				}
			}
		}
	}
	if n != 16 {
		t.Errorf("%d values in common, want 16: %v", n, want)
	}
}

// TestSign: the policies and, since RSASSA-PKCS1-v1_5 is deterministic, the signatures are those of systemd-measure.
func TestSign(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
	args := append([]string{"sign", "--json=short", "--private-key=" + testkit.WriteFile(t, "key.pem", private),
		"--public-key=" + testkit.WriteFile(t, "pub.pem", public)}, sectionFiles(t, parts()...)...)
	want, err := ParsePolicySignatures(testkit.Run(t, "", "systemd-measure", args...))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Predict("x.efi", sections(t, "257", parts()...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	values, err := p.Cases[0].Phases(eventlog.Banks(), DefaultPhases())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ParseKey(private)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Sign(values, signer)
	if err != nil {
		t.Fatal(err)
	}
	sorted := cmpopts.SortSlices(func(a, b PolicySignature) bool { return bytes.Compare(a.Policy, b.Policy) < 0 })
	if d := cmp.Diff(want, got, sorted); d != "" {
		t.Errorf("Sign() (-systemd-measure +peel):\n%s", d)
	}
	got.Merge(want)
	if len(got["sha256"]) != 4 {
		t.Errorf("Merge(the same) gives %d entries, want 4", len(got["sha256"]))
	}
}

// TestPcrlock: the records that systemd-pcrlock makes of a UKI, of a command line and of an initial RAM disk are peel's events.
func TestPcrlock(t *testing.T) {
	const cmdline, initrd = "quiet  root=/dev/vda", "an initrd"
	img := sections(t, "257.1", parts()...)
	p, err := Predict("x.efi", img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	bare := sections(t, "252", ".linux", "no kernel", ".initrd", initrd, ".cmdline", cmdline)
	q, err := Predict("x.efi", bare, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		verb  string
		data  []byte
		from  *Case
		match func(*eventlog.Event) bool
	}{
		{"lock-uki", img, &p.Cases[0], func(e *eventlog.Event) bool { return e.PCR == 11 || e.Type == eventlog.EFIBootServicesApp }},
		{"lock-kernel-cmdline", []byte(cmdline), &q.Cases[0], func(e *eventlog.Event) bool {
			id, _, _ := eventlog.ParseTagged(e.Data)
			return e.PCR == 9 && id == TagLoadOptions
		}},
		{"lock-kernel-initrd", []byte(initrd), &q.Cases[0], func(e *eventlog.Event) bool {
			id, _, _ := eventlog.ParseTagged(e.Data)
			return e.PCR == 9 && id == TagInitrd
		}},
	} {
		out := filepath.Join(t.TempDir(), "x.pcrlock")
		testkit.Run(t, "", "systemd-pcrlock", tc.verb, testkit.WriteFile(t, "x", tc.data), "--pcrlock="+out)
		var want struct {
			Records []struct {
				PCR     uint32 `json:"pcr"`
				Digests []struct {
					Hash   eventlog.Hash  `json:"hashAlg"`
					Digest eventlog.Bytes `json:"digest"`
				} `json:"digests"`
			} `json:"records"`
		}
		if err := json.Unmarshal(testkit.ReadFile(t, out), &want); err != nil {
			t.Fatal(err)
		}
		var got []*eventlog.Event
		for i := range tc.from.Events {
			if e := &tc.from.Events[i]; tc.match(e) {
				got = append(got, e)
			}
		}
		if len(got) != len(want.Records) || len(got) == 0 {
			t.Errorf("%s: %d events, systemd-pcrlock has %d", tc.verb, len(got), len(want.Records))
			continue
		}
		for i, r := range want.Records {
			for _, d := range r.Digests {
				if v, ok := got[i].Digest(d.Hash); !ok || !bytes.Equal(v, d.Digest) || got[i].PCR != r.PCR {
					t.Errorf("%s: event %d: PCR %d %s %x, systemd-pcrlock has PCR %d %s", tc.verb, i, got[i].PCR, d.Hash, v, r.PCR, d.Digest)
				}
			}
		}
	}
}

func TestParseKey(t *testing.T) {
	for _, text := range []string{"", "text", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if k, err := ParseKey([]byte(text)); !errors.Is(err, ErrKey) {
			t.Errorf("ParseKey(%q) = %v, %v, want %v", text, k, err, ErrKey)
		}
	}
	if _, err := Fingerprint("no key"); !errors.Is(err, ErrKey) {
		t.Errorf("Fingerprint() = %v, want %v", err, ErrKey)
	}
}

// value is PCR pcr of SHA-256 after events with the given measured bytes.
func value(measured ...string) string {
	v := make([]byte, 32)
	for _, m := range measured {
		v = eventlog.SHA256.Extend(v, eventlog.SHA256.Sum([]byte(m)))
	}
	return eventlog.Bytes(v).String()
}

func wide(s string) string { return string(eventlog.UTF16(s)) }

func TestProfiles(t *testing.T) {
	img := sections(t, "257.2", ".linux", "k", ".cmdline", "base",
		".profile", "ID=main\n", ".profile", "ID=other\n", ".cmdline", "quiet")
	p, err := Predict("x.efi", img, Options{Banks: []eventlog.Hash{eventlog.SHA256}})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Cases) != 2 {
		t.Fatalf("Predict() = %d cases, want 2", len(p.Cases))
	}
	for i, want := range []struct {
		name, cmdline, pcr11, pcr12 string
	}{
		{"@0 (main)", "base", value(".linux\x00", "k", ".cmdline\x00", "base", ".profile\x00", "ID=main\n"), value()},
		{"@1 (other)", "quiet", value(".linux\x00", "k", ".cmdline\x00", "quiet", ".profile\x00", "ID=other\n"), value(wide("1"))},
	} {
		c := p.Cases[i]
		v := c.Values[eventlog.SHA256]
		if c.Name != want.name || c.Cmdline != want.cmdline || v[11].String() != want.pcr11 || v[12].String() != want.pcr12 {
			t.Errorf("case %d = %s, %q, PCR 11 %s, PCR 12 %s, want %+v", i, c.Name, c.Cmdline, v[11], v[12], want)
		}
	}
	one := 1
	for _, o := range []Options{{LoadOptions: "@1"}, {Profile: &one}} {
		o.Banks = []eventlog.Hash{eventlog.SHA256}
		q, err := Predict("x.efi", img, o)
		if err != nil || len(q.Cases) != 1 || q.Cases[0].Profile != 1 {
			t.Errorf("Predict(%+v) = %+v, %v, want profile 1 alone", o, q, err)
		}
	}
	nine := 9
	if _, err := Predict("x.efi", img, Options{Profile: &nine}); !errors.Is(err, uki.ErrProfile) {
		t.Errorf("Predict(profile 9) = %v, want %v", err, uki.ErrProfile)
	}
}

func TestDeviceTrees(t *testing.T) {
	img := sections(t, "257", ".linux", "k", ".dtbauto", "one", ".dtbauto", "two")
	p, err := Predict("x.efi", img, Options{Banks: []eventlog.Hash{eventlog.SHA256}})
	if err != nil || len(p.Cases) != 3 {
		t.Fatalf("Predict() = %+v, %v, want 3 cases", p, err)
	}
	for i, want := range []string{
		value(".linux\x00", "k"), value(".linux\x00", "k", ".dtbauto\x00", "one"), value(".linux\x00", "k", ".dtbauto\x00", "two"),
	} {
		if got := p.Cases[i].Values[eventlog.SHA256][11].String(); got != want {
			t.Errorf("case %q: PCR 11 = %s, want %s", p.Cases[i].Name, got, want)
		}
	}
}

// TestVirtualSize: what the stub measures has the zeros that the section has in memory.
func TestVirtualSize(t *testing.T) {
	b := sections(t, "257", ".linux", "kernel")
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := f.Find(".linux")
	i := bytes.Index(b, []byte(".linux\x00\x00"))
	b[i+8] = 100 // VirtualSize
	p, err := Predict("x.efi", b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := string(append(append([]byte{}, f.Raw[s.PointerToRawData:]...)[:min(100, int(s.SizeOfRawData))], make([]byte, 100-min(100, int(s.SizeOfRawData)))...))
	if got, want := p.Cases[0].Values[eventlog.SHA256][11].String(), value(".linux\x00", data); got != want {
		t.Errorf("PCR 11 = %s, want %s", got, want)
	}
	b[i+8+3] = 0xff // 4 GiB of zeros
	if _, err := Predict("x.efi", b, Options{}); err == nil {
		t.Error("Predict(4 GiB of zeros) succeeds")
	}
}

// TestStubVersions: stubs measure the sections of their time.
func TestStubVersions(t *testing.T) {
	all := []string{".linux", "k", ".uname", "u", ".sbat", "s", ".hwids", "h", ".cmdline", "c"}
	old := value(".linux\x00", "k", ".cmdline\x00", "c")
	mid := value(".linux\x00", "k", ".cmdline\x00", "c", ".uname\x00", "u", ".sbat\x00", "s")
	latest := value(".linux\x00", "k", ".cmdline\x00", "c", ".uname\x00", "u", ".sbat\x00", "s", ".hwids\x00", "h")
	for version, want := range map[string]string{"252.39-1~deb12u2": old, "255": mid, "257.13": latest, "": latest} {
		p, err := Predict("x.efi", sections(t, version, all...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Cases[0].Values[eventlog.SHA256][11].String(); got != want {
			t.Errorf("stub %q: PCR 11 = %s, want %s", version, got, want)
		}
		if told := strings.Contains(strings.Join(p.Notes, "\n"), "does not say which version"); told != (version == "") {
			t.Errorf("stub %q: notes %q", version, p.Notes)
		}
	}
}

func TestCommandLines(t *testing.T) {
	on := true
	img := sections(t, "257", ".linux", "k", ".cmdline", "own")
	bare := sections(t, "257", ".linux", "k")
	for _, tc := range []struct {
		name    string
		img     []byte
		secure  *bool
		options string
		line    string
		pcr12   string
	}{
		{"own", img, nil, "", "own", value()},
		{"given", img, nil, " given\t", "given", value(wide("given"))},
		{"given, secure", img, &on, "given", "own", value()},
		{"given, secure, none inside", bare, &on, "given", "given", value(wide("given"))},
		{"no selector", img, nil, "@x y", "@x y", value(wide("@x y"))},
	} {
		p, err := Predict("x.efi", tc.img, Options{SecureBoot: tc.secure, LoadOptions: tc.options})
		if err != nil {
			t.Fatal(err)
		}
		c := p.Cases[0]
		if got := c.Values[eventlog.SHA256][12].String(); c.Cmdline != tc.line || got != tc.pcr12 {
			t.Errorf("%s: %q, PCR 12 = %s, want %q, %s", tc.name, c.Cmdline, got, tc.line, tc.pcr12)
		}
	}
}

func TestNotAnImage(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("text"), make([]byte, 4096)} {
		if p, err := Predict("x", b, Options{}); !errors.Is(err, ErrImage) {
			t.Errorf("Predict(%d bytes) = %v, %v, want %v", len(b), p, err, ErrImage)
		}
	}
	if _, err := Predict("x", sections(t, "", ".linux", "k"), Options{Banks: []eventlog.Hash{eventlog.SM3}}); !errors.Is(err, eventlog.ErrHash) {
		t.Errorf("Predict(SM3) = %v, want %v", err, eventlog.ErrHash)
	}
}

func TestCompare(t *testing.T) {
	p, err := Predict("x.efi", sections(t, "257", ".linux", "k", ".cmdline", "c"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &p.Cases[0]
	log := c.Log(eventlog.Banks())
	log.Events = append(append([]eventlog.Event{}, log.Events...), PhaseEvents(log.Banks, "enter-initrd")...)
	if d, err := Compare(c, log, nil); err != nil || len(d) != 0 {
		t.Errorf("Compare(the same and a phase) = %v, %v, want none", d, err)
	}
	other, err := Predict("x.efi", sections(t, "257", ".linux", "k", ".cmdline", "other"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Compare(&other.Cases[0], log, []uint32{11})
	if err != nil || len(d) != 1 || d[0].Event != 3 || !strings.Contains(d[0].String(), ".cmdline") {
		t.Errorf("Compare(another command line) = %v, %v, want event 3", d, err)
	}
	log.Events = append([]eventlog.Event{eventlog.NewEvent(11, eventlog.IPL, log.Banks, []byte("early"), []byte("early"))}, log.Events...)
	if d, err := Compare(c, log, []uint32{11}); err != nil || len(d) != 1 || !d[0].Later || d[0].Event != 0 {
		t.Errorf("Compare(one event more) = %v, %v, want it at 0", d, err)
	}
	if _, err := Compare(c, &eventlog.Log{Banks: []eventlog.Hash{eventlog.SM3}}, nil); !errors.Is(err, ErrMismatch) {
		t.Errorf("Compare(no bank in common) = %v, want %v", err, ErrMismatch)
	}
}

// payload is what a boot of the image of TestKexec hands to kexec.
func payload() *image.Payload {
	return &image.Payload{
		Kernel: image.Part{Data: []byte("k")}, Cmdline: "own more",
		CmdlineParts: []image.Part{{Name: ".cmdline", Data: []byte("own")}, {Name: "--append", Data: []byte("more"), Outside: true}},
		Initrds: []image.Part{
			{Name: ".initrd", Data: []byte("initrd")}, {Name: ".extra/sysext", Data: []byte("archive"), Outside: true},
			{Name: "extra.cpio", Data: []byte("x"), Outside: true},
		},
	}
}

func TestKexec(t *testing.T) {
	banks := []eventlog.Hash{eventlog.SHA1, eventlog.SHA256}
	img := sections(t, "257", ".linux", "k", ".cmdline", "own", ".initrd", "initrd")
	first, err := Predict("x.efi", img, Options{Banks: banks})
	if err != nil {
		t.Fatal(err)
	}
	before := eventlog.Values{}
	for _, h := range banks {
		before[h] = eventlog.Registers{}
		for i := range uint32(24) {
			before[h][i] = eventlog.Initial(h, i)
		}
		for pcr, v := range first.Cases[0].Values[h] {
			before[h][pcr] = v
		}
	}
	o := KexecOptions{Mode: ModeExtend, Banks: banks, Before: before, History: first.Cases[0].Log(banks)}
	k, err := PlanKexec("x.efi", img, 0, payload(), o)
	if err != nil {
		t.Fatal(err)
	}
	after := eventlog.Registers{}
	for pcr, measured := range map[uint32][]string{
		9:  {separatorText + "\x00", wide("own more"), "initrd\x00\x00archive\x00x"},
		11: {separatorText + "\x00", ".linux\x00", "k", ".cmdline\x00", "own", ".initrd\x00", "initrd"},
		12: {separatorText + "\x00", wide("own more"), "x"},
		13: {separatorText + "\x00", "archive"},
	} {
		v := before[eventlog.SHA256][pcr]
		for _, m := range measured {
			v = eventlog.SHA256.Extend(v, eventlog.SHA256.Sum([]byte(m)))
		}
		after[pcr] = v
	}
	if d := cmp.Diff(after, k.After[eventlog.SHA256]); d != "" {
		t.Errorf("PlanKexec().After (-want +got):\n%s", d)
	}

	archive, err := k.Handover()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(archive, []byte(strings.TrimPrefix(HandoverPath, "/"))) {
		t.Error("the archive does not have the path of the log")
	}
	raw, err := k.Log.WriteTCG()
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Verify(log, k.After)
	if err != nil || !v.OK() || v.Kexecs != 1 || len(v.Unlogged) != 0 || len(v.FromReset) != 4 || len(v.Checks) != 8 {
		t.Errorf("Verify(registers after) = %+v, %v, want all well from the reset on", v, err)
	}

	// A register that something else extended before the kexec.
	before[eventlog.SHA256][12] = eventlog.SHA256.Sum([]byte("unlogged"))
	before[eventlog.SHA1][12] = eventlog.SHA1.Sum([]byte("unlogged"))
	if k, err = PlanKexec("x.efi", img, 0, payload(), o); err != nil {
		t.Fatal(err)
	}
	if v, err := Verify(k.Log, k.After); err != nil || !v.OK() || !cmp.Equal(v.Unlogged, []uint32{12}) {
		t.Errorf("Verify(with an unlogged extend) = %+v, %v, want PCR 12 named", v, err)
	}

	// A fresh boot of the same image is no measured kexec, nor the other way round.
	if v, err := Verify(k.Log, first.Cases[0].Values); err != nil || v.OK() {
		t.Errorf("Verify(registers of a fresh boot) = %+v, %v, want a mismatch", v, err)
	}
	// A second kexec continues the log.
	o.Before, o.History = k.After, k.Log
	two, err := PlanKexec("x.efi", img, 0, payload(), o)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Verify(two.Log, two.After); err != nil || !v.OK() || v.Kexecs != 2 {
		t.Errorf("Verify(two kexecs) = %+v, %v, want all well", v, err)
	}
	// A log that states the values it finds, and no more, explains nothing.
	lie := &eventlog.Log{Banks: banks}
	for _, e := range k.Log.Events {
		if _, ok := snapshot(&e); ok || IsSeparator(&e) {
			lie.Events = append([]eventlog.Event{e}, lie.Events...)
		}
	}
	if v, err := Verify(lie, before); !errors.Is(err, ErrMismatch) || v.OK() {
		t.Errorf("Verify(stated values) = %+v, %v, want %v", v, err, ErrMismatch)
	}
	// Nothing extended: the log says so, and explains the registers as they are.
	o.Mode = ModeLog
	only, err := PlanKexec("x.efi", img, 0, payload(), o)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Verify(only.Log, o.Before); err != nil || !v.OK() {
		t.Errorf("Verify(log only) = %+v, %v, want all well", v, err)
	}
}

func TestKexecRefuses(t *testing.T) {
	for _, pcrs := range [][]uint32{{0}, {10}, {17}, {24}} {
		_, err := PlanKexec("x", sections(t, "257", ".linux", "k"), 0, payload(), KexecOptions{Banks: eventlog.Banks(), PCRs: pcrs})
		if !errors.Is(err, ErrCase) {
			t.Errorf("PlanKexec(PCR %v) = %v, want %v", pcrs, err, ErrCase)
		}
	}
}

func TestReadBeside(t *testing.T) {
	volume := t.TempDir()
	path := filepath.Join(volume, "EFI/Linux/x.efi")
	b, err := ReadBeside(path, volume)
	if err != nil || len(b.Addons)+len(b.Groups) != 0 {
		t.Errorf("ReadBeside(nothing) = %+v, %v", b, err)
	}
	img := sections(t, "257", ".linux", "k")
	addon := sections(t, "", ".cmdline", "added")
	o := Options{Banks: []eventlog.Hash{eventlog.SHA256}, Beside: &Beside{
		Addons: []File{{"a.addon.efi", addon}, {"bad.addon.efi", []byte("x")}, {"uki.addon.efi", img}},
		Groups: []Group{{beside.Archive{Target: ".extra/credentials", Dir: 0o500, File: 0o400}, []File{{"a.cred", []byte("s")}}}},
	}}
	p, err := Predict("x.efi", img, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Notes) != 4 || p.Cases[0].Cmdline != "added" {
		t.Errorf("Predict() = %q, notes %q, want notes about two addons, the variables and the kernel", p.Cases[0].Cmdline, p.Notes)
	}
	archive, err := o.Beside.Groups[0].Archive.Pack(beside.Member{Name: "a.cred", Data: []byte("s")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Cases[0].Values[eventlog.SHA256][12].String(), value(wide("added"), string(archive)); got != want {
		t.Errorf("PCR 12 = %s, want %s", got, want)
	}
}

func FuzzPredict(f *testing.F) {
	f.Add([]byte("k"), []byte("quiet"), []byte("ID=a"), "@1 x")
	f.Fuzz(func(t *testing.T, kernel, cmdline, profile []byte, options string) {
		img := sections(t, "257", ".linux", string(kernel), ".cmdline", string(cmdline), ".dtbauto", string(cmdline),
			".profile", string(profile), ".profile", string(kernel))
		p, err := Predict("x", img, Options{LoadOptions: options})
		if err != nil {
			return
		}
		for i := range p.Cases {
			if _, err := json.Marshal(p.Cases[i]); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzVerify feeds the checker of handed-over logs: whatever a log holds, it must not be believed without registers.
func FuzzVerify(f *testing.F) {
	banks := []eventlog.Hash{eventlog.SHA256}
	img := sections(f, "257", ".linux", "k")
	k, err := PlanKexec("x", img, 0, payload(), KexecOptions{Banks: banks, Before: eventlog.Values{eventlog.SHA256: {11: make([]byte, 32)}}})
	if err != nil {
		f.Fatal(err)
	}
	raw, err := k.Log.WriteTCG()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	random := eventlog.SHA256.Sum([]byte("registers that no log can know"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := eventlog.Read(b)
		if err != nil {
			return
		}
		got := eventlog.Values{}
		for _, h := range eventlog.Banks() {
			got[h] = eventlog.Registers{}
			for i := range uint32(24) {
				got[h][i] = append(append([]byte{}, random...), random...)[:h.Size()]
			}
		}
		if v, err := Verify(l, got); err == nil && v.OK() {
			t.Errorf("Verify() = %+v", v)
		}
	})
}

func ExamplePolicyDigest() {
	fmt.Printf("%x\n", PolicyDigest(eventlog.SHA256, eventlog.Registers{11: make([]byte, 32)}))
	// Output: fd32fa22c52cfc8e1a0c29eb38519f87084cab0b04b0d8f020a4d38b2f4e223e
}
