// SPDX-License-Identifier: Apache-2.0

package efi_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
	"github.com/peelboot/peel/measure/tpm"
	"github.com/peelboot/peel/trust/esl"
)

// secureBoot is what a stub finds of Secure Boot.
func secureBoot(t *testing.T, on bool) []efi.Variable {
	t.Helper()
	g, err := firmware.ParseGUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
	if err != nil {
		t.Fatal(err)
	}
	v := []byte{0}
	if on {
		v[0] = 1
	}
	return []efi.Variable{{Name: "SecureBoot", GUID: g, Attributes: 6, Data: v}, {Name: "SetupMode", GUID: g, Attributes: 6, Data: []byte{0}}}
}

// ranMeasured lets an image run with a TPM of software.
func ranMeasured(t *testing.T, img []byte, o efi.Options) *efi.Measurements {
	t.Helper()
	if o.Measure == nil {
		o.Measure = &efi.Measuring{Banks: eventlog.Banks()}
	}
	st, err := efi.Run(context.Background(), img, o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	return st.Measured
}

// same compares events but for the data of images that are loaded, which has
// addresses in it.
func same(a, b eventlog.Event) bool {
	if a.PCR != b.PCR || a.Type != b.Type || len(a.Digests) != len(b.Digests) {
		return false
	}
	for i := range a.Digests {
		if a.Digests[i].Hash != b.Digests[i].Hash || !bytes.Equal(a.Digests[i].Value, b.Digests[i].Value) {
			return false
		}
	}
	return a.Type == eventlog.EFIBootServicesApp || bytes.Equal(a.Data, b.Data)
}

// equal compares what an image measured with what was foretold of it, register
// by register, event for event, data included.
func equal(t *testing.T, got *efi.Measurements, want *measure.Prediction) {
	t.Helper()
	if len(want.Cases) != 1 {
		t.Fatalf("%d cases are foretold, want 1", len(want.Cases))
	}
	if got.Unlogged != 0 {
		t.Errorf("%d events are not in the log", got.Unlogged)
	}
	mine := eventlog.Log{Events: want.Cases[0].Events}
	for _, pcr := range []uint32{4, 9, 11, 12, 13} {
		w, g := mine.For(pcr), got.Log.For(pcr)
		if pcr == measure.PCRBootLoader {
			w = slices.DeleteFunc(w, func(e eventlog.Event) bool { return e.Type != eventlog.EFIBootServicesApp })
		}
		for i := range max(len(w), len(g)) {
			switch {
			case i >= len(w):
				t.Errorf("PCR %d: event %d was not foretold: %v %q", pcr, i, g[i].Type, g[i].Describe())
			case i >= len(g):
				t.Errorf("PCR %d: event %d is missing: %v %q", pcr, i, w[i].Type, w[i].Describe())
			case !same(w[i], g[i]):
				t.Errorf("PCR %d: event %d is %v %q %x, foretold %v %q %x", pcr, i, g[i].Type, g[i].Describe(), []byte(g[i].Data),
					w[i].Type, w[i].Describe(), []byte(w[i].Data))
			}
		}
		if len(w) == 0 {
			continue
		}
		for _, h := range eventlog.Banks() {
			if pcr != measure.PCRBootLoader && !bytes.Equal(got.Registers[h][pcr], want.Cases[0].Values[h][pcr]) {
				t.Errorf("PCR %d of %s is %s, foretold %s", pcr, h, got.Registers[h][pcr], want.Cases[0].Values[h][pcr])
			}
		}
	}
	if t.Failed() {
		t.Logf("notes: %q", want.Notes)
	}
}

// asRun is what package measure takes of it.
func asRun(m *efi.Measurements) *measure.Run {
	return &measure.Run{Log: m.Log, Registers: m.Registers, Images: m.Images, Unlogged: m.Unlogged}
}

// volume fills the directory of a boot partition with one thing of each kind.
func volume(t *testing.T, img []byte, stub string) (dir, path string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "esp")
	path = filepath.Join(dir, "EFI/Linux/x.efi")
	files := map[string][]byte{
		path:                               img,
		path + ".extra.d/b.cred":           []byte("secret b"),
		path + ".extra.d/a.cred":           []byte("secret a!"),
		path + ".extra.d/x.raw":            []byte("a system extension"),
		dir + "/loader/credentials/a.cred": []byte("for all"),
	}
	if stub != "bookworm" {
		files[path+".extra.d/y.confext.raw"] = []byte("a configuration extension")
		files[path+".extra.d/b.addon.efi"] = addon(t, "addon=b")
		files[path+".extra.d/a.addon.efi"] = addon(t, "addon=a  two")
		files[dir+"/loader/addons/z.addon.efi"] = addon(t, "addon=z")
	}
	for name, b := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, path
}

// digestLists are the variables of a firmware that lets images in by their
// digests, so that each has an authority of its own.
func digestLists(t *testing.T, images ...[]byte) *measure.Firmware {
	t.Helper()
	var list []esl.Entry
	for _, b := range images {
		f, err := pe.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		d, err := f.Digest(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, esl.Entry{Type: esl.SHA256, Data: d})
	}
	db, err := esl.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{"SecureBoot.bin": {1}, "PK.esl": db, "KEK.esl": db, "db.esl": db, "dbx.esl": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := measure.ReadFirmware(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What each stub measures is what is foretold of it: with files beside the
// image, with Secure Boot and without, with load options.
func TestMeasuredUKI(t *testing.T) {
	for _, tt := range []struct {
		name, stub, options string
		secure              bool
	}{
		{name: "252", stub: "bookworm"},
		{name: "252 secure", stub: "bookworm", secure: true, options: "ignored"},
		{name: "257", stub: "trixie", options: "of the loader"},
		{name: "257 secure", stub: "trixie", secure: true, options: "ignored"},
		{name: "newest", stub: "forky"},
		{name: "newest secure", stub: "forky", secure: true, options: "ignored"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := uki(t, tt.stub, testkit.UKIOptions{Kernel: testkit.Kernel(t, "amd64", "6.12"), Initrd: bytes.Repeat([]byte("initrd!\n"), 999), Cmdline: "from=uki"})
			dir, path := volume(t, img, tt.stub)
			beside, err := measure.ReadBeside(path, dir)
			if err != nil {
				t.Fatal(err)
			}
			mo := measure.Options{Beside: beside, LoadOptions: tt.options, SecureBoot: &tt.secure}
			authorities := 0
			if tt.secure {
				images := [][]byte{img}
				for _, a := range beside.Addons {
					images = append(images, a.Data)
				}
				mo.Firmware, authorities = digestLists(t, images...), len(images)
			}
			want, err := measure.Predict("x.efi", img, mo)
			if err != nil {
				t.Fatal(err)
			}
			o := options(t, "x86-bios")
			o.Dir, o.Path, o.LoadOptions = os.DirFS(dir), "EFI/Linux/x.efi", tt.options
			o.VerifyFile = func(string, []byte) error { return nil }
			o.Variables = secureBoot(t, tt.secure)
			got := ranMeasured(t, img, o)
			equal(t, got, want)

			// The other way to a prediction is the run itself.
			again, err := measure.FromRun("x.efi", img, asRun(got), measure.Options{LoadOptions: tt.options, SecureBoot: &tt.secure, Firmware: mo.Firmware})
			if err != nil {
				t.Fatal(err)
			}
			l := again.Cases[0].Log(eventlog.Banks())
			n := len(slices.DeleteFunc(l.For(measure.PCRSecureBoot), func(e eventlog.Event) bool { return e.Type != eventlog.EFIVariableAuthority }))
			if n != authorities {
				t.Errorf("FromRun: %d authorities, want %d", n, authorities)
			}
			for h, regs := range want.Cases[0].Values {
				for pcr, v := range regs {
					if g := again.Cases[0].Values[h][pcr]; !bytes.Equal(g, v) {
						t.Errorf("FromRun: PCR %d of %s is %s, want %s", pcr, h, g, v)
					}
				}
			}
		})
	}
}

// Profiles are told in PCR 12.
func TestMeasuredProfile(t *testing.T) {
	out := filepath.Join(t.TempDir(), "one")
	testkit.Run(t, "", "ukify", "build", "--stub="+testkit.AddonStub(t, "amd64", "trixie"), "--profile=ID=one", "--cmdline=profile=one", "--output="+out)
	img := uki(t, "trixie", testkit.UKIOptions{Cmdline: "profile=none", Extra: []string{"--profile=ID=main", "--join-profile=" + out}})
	for _, line := range []string{"@0", "@1", "@1 own=line"} {
		want, err := measure.Predict("x.efi", img, measure.Options{LoadOptions: line})
		if err != nil {
			t.Fatal(err)
		}
		o := options(t, "x86-bios")
		o.LoadOptions = line
		equal(t, ranMeasured(t, img, o), want)
	}
}

// Kernels measure load options and RAM disk themselves.
func TestMeasuredKernel(t *testing.T) {
	for _, series := range []string{"6.1", "6.12", "new"} {
		t.Run(series, func(t *testing.T) { measuredKernel(t, series) })
	}
}

func measuredKernel(t *testing.T, series string) {
	t.Helper()
	rd := bytes.Repeat([]byte("initrd!\n"), 1<<12)
	img := testkit.ReadFile(t, testkit.Kernel(t, "amd64", series))
	want, err := measure.Predict("x.efi", img, measure.Options{LoadOptions: "console=ttyS0 quiet", Initrd: rd})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, "x86-bios")
	o.LoadOptions, o.Initrds = "console=ttyS0 quiet", [][]byte{rd}
	equal(t, ranMeasured(t, img, o), want)
}

// tpmLike gets what is passed through.
type tpmLike struct {
	events []eventlog.Event
	fail   int // this many events succeed; 0 is all
}

func (l *tpmLike) Extend(e []eventlog.Event) (int, error) {
	if l.fail != 0 && len(l.events) >= l.fail {
		return 0, errors.New("the TPM is gone")
	}
	l.events = append(l.events, e...)
	return len(e), nil
}

func TestMeasuredPassThrough(t *testing.T) {
	img := uki(t, "trixie", testkit.UKIOptions{Cmdline: "from=uki"})
	o := options(t, "x86-bios")
	l := &tpmLike{}
	o.Measure = &efi.Measuring{Banks: []eventlog.Hash{eventlog.SHA256}, TPM: l}
	got := ranMeasured(t, img, o)
	if len(l.events) == 0 || len(l.events) != len(got.Log.Events) {
		t.Fatalf("%d events passed through, %d in the log", len(l.events), len(got.Log.Events))
	}
	for i, e := range l.events {
		if !same(e, got.Log.Events[i]) {
			t.Errorf("event %d passed through is %v, logged %v", i, e, got.Log.Events[i])
		}
	}
	for _, n := range []int{1, 5} {
		o.Measure = &efi.Measuring{Banks: eventlog.Banks(), TPM: &tpmLike{fail: n}}
		if _, err := efi.Run(context.Background(), img, o); !errors.Is(err, efi.ErrTPM) || !strings.Contains(err.Error(), "the TPM is gone") {
			t.Errorf("Run(TPM that fails after %d events) = %v, want %v", n, err, efi.ErrTPM)
		}
	}
	o.Measure = &efi.Measuring{Banks: []eventlog.Hash{eventlog.SM3}}
	if _, err := efi.Run(context.Background(), img, o); !errors.Is(err, eventlog.ErrHash) {
		t.Errorf("Run(SM3) = %v, want %v", err, eventlog.ErrHash)
	}
	// Nothing is measured unless it is asked for.
	o.Measure = nil
	st, err := efi.Run(context.Background(), img, o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if st.Measured != nil {
		t.Errorf("measured without being asked: %+v", st.Measured)
	}
}

// A confidential guest has registers of its processor.
func TestMeasuredCC(t *testing.T) {
	for _, stub := range []string{"trixie", "forky"} {
		t.Run(stub, func(t *testing.T) {
			img := uki(t, stub, testkit.UKIOptions{Cmdline: "from=uki", Initrd: []byte("initrd")})
			o := options(t, "x86-bios")
			o.Measure = &efi.Measuring{CC: efi.CCTDX}
			got := ranMeasured(t, img, o)
			if got.Log != nil || got.CC == nil || len(got.CC.Events) == 0 {
				t.Fatalf("log %v, log of registers %v", got.Log, got.CC)
			}
			// PCR 4 is the register with index 2, PCR 9 to 13 that with
			// index 3, in the order in which they are extended.
			o.Measure = &efi.Measuring{Banks: []eventlog.Hash{eventlog.SHA384}}
			tcg := ranMeasured(t, img, o)
			var want []eventlog.Event
			for _, e := range tcg.Log.Events {
				e.PCR = map[uint32]uint32{4: 2, 9: 3, 11: 3, 12: 3, 13: 3}[e.PCR]
				want = append(want, e)
			}
			if len(got.CC.Events) != len(want) {
				t.Fatalf("%d events, want the %d of the PCRs", len(got.CC.Events), len(want))
			}
			for i, e := range got.CC.Events {
				if !same(e, want[i]) {
					t.Errorf("event %d is %v %q, want %v %q", i, e.Type, e.Describe(), want[i].Type, want[i].Describe())
				}
			}
			l := eventlog.Log{Banks: []eventlog.Hash{eventlog.SHA384}, Events: want}
			regs, err := l.Replay(eventlog.SHA384)
			for _, n := range []uint32{2, 3} {
				if err != nil || !bytes.Equal(got.Measured[n], regs[n]) {
					t.Errorf("register %d is %s, want %s (%v)", n, got.Measured[n], regs[n], err)
				}
			}
		})
	}
}

// What is passed through to a TPM is in its registers.
func TestMeasuredTPM(t *testing.T) {
	dev, err := tpm.Open(testkit.SoftwareTPM(t))
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	banks, err := dev.Banks()
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, "x86-bios")
	o.Measure = &efi.Measuring{Banks: banks, TPM: dev}
	got := ranMeasured(t, uki(t, "trixie", testkit.UKIOptions{Cmdline: "from=uki", Initrd: []byte("initrd")}), o)
	pcrs := []uint32{4, 9, 11, 12}
	values, err := dev.Read(banks, pcrs)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range banks {
		for _, pcr := range pcrs {
			want, ok := got.Registers[h][pcr]
			if !ok {
				want = eventlog.Initial(h, pcr)
			}
			if !bytes.Equal(values[h][pcr], want) {
				t.Errorf("PCR %d of %s is %s in the TPM, %s here", pcr, h, values[h][pcr], want)
			}
		}
	}
}

// The image's choice by hardware is in what it measures; the prediction has a
// case for it.
func TestMeasuredHardware(t *testing.T) {
	section := testkit.WriteFile(t, "hwids", hwidsSection(struct {
		id         [16]byte
		compatible string
	}{ids("acme", "two")[0], "acme,two"}))
	args := []string{"--section=.hwids:@" + section}
	for _, c := range []string{"acme,one", "acme,two"} {
		args = append(args, "--devicetree-auto="+testkit.WriteFile(t, c, deviceTree(t, c)))
	}
	img := uki(t, "trixie", testkit.UKIOptions{Kernel: testkit.Kernel(t, "amd64", "6.12"), Cmdline: "x", Extra: args})
	want, err := measure.Predict("x.efi", img, measure.Options{})
	if err != nil || len(want.Cases) != 3 {
		t.Fatalf("Predict() = %v, %v, want three cases", want, err)
	}
	for product, n := range map[string]int{"three": 0, "two": 2} {
		o := options(t, "x86-bios")
		o.Tables = efi.ReadTables(smbios("acme", product))
		one := *want
		one.Cases = want.Cases[n : n+1]
		got := ranMeasured(t, img, o)
		equal(t, got, &one)
		p, err := measure.FromRun("x.efi", img, asRun(got), measure.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if c := p.Cases[0]; c.Name != one.Cases[0].Name || c.DeviceTree != one.Cases[0].DeviceTree {
			t.Errorf("FromRun() = case %q, want %q", c.Name, one.Cases[0].Name)
		}
	}
}

// What a stub takes from the OEM strings of the machine is measured by itself,
// between the command lines and the other parts of addons, trimmed as those are.
// Stubs that do not know these strings measure nothing.
func TestMeasuredSMBIOS(t *testing.T) {
	for _, tt := range []struct {
		name, stub, cmdline, words, text string
		beside, secure                   bool
		events                           int // of text, by default words, in PCR 12
	}{
		{name: "252", stub: "bookworm", cmdline: "from=uki", words: "from=smbios"},
		{name: "257", stub: "trixie", cmdline: "from=uki", words: "from=smbios", events: 1},
		{name: "257 with addons", stub: "trixie", cmdline: "from=uki", words: " from=smbios\tü ", text: "from=smbios ü", beside: true, events: 1},
		{name: "257 without a command line", stub: "trixie", words: "from=smbios", events: 1},
		{name: "newest with addons", stub: "forky", cmdline: "from=uki", words: "from=smbios ", text: "from=smbios", beside: true, secure: true, events: 1},
		{name: "newest without a command line", stub: "forky", words: " from=smbios", text: "from=smbios", events: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := uki(t, tt.stub, testkit.UKIOptions{Kernel: testkit.Kernel(t, "amd64", "6.12"), Cmdline: tt.cmdline})
			mo := measure.Options{SMBIOS: tt.words, SecureBoot: &tt.secure}
			o := options(t, "x86-bios")
			o.Variables = secureBoot(t, tt.secure)
			if tt.beside {
				dir, path := volume(t, img, tt.stub)
				var err error
				if mo.Beside, err = measure.ReadBeside(path, dir); err != nil {
					t.Fatal(err)
				}
				o.Dir, o.Path = os.DirFS(dir), "EFI/Linux/x.efi"
				o.VerifyFile = func(string, []byte) error { return nil }
			}
			o.Tables = efi.ReadTables(smbios("acme", "one", "io.systemd.stub.kernel-cmdline-extra="+tt.words))
			want, err := measure.Predict("x.efi", img, mo)
			if err != nil {
				t.Fatal(err)
			}
			got := ranMeasured(t, img, o)
			equal(t, got, want)
			text := eventlog.UTF16(cmp.Or(tt.text, tt.words))
			list := slices.DeleteFunc(got.Log.For(measure.PCRKernelConfig), func(e eventlog.Event) bool { return !bytes.Equal(e.Data, text) })
			if len(list) != tt.events {
				t.Errorf("%d events of PCR 12 are the words of SMBIOS, want %d", len(list), tt.events)
			}
		})
	}
}
