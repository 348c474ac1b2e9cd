// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// boot is a UKI, what lies beside it, and the machine it boots on.
type boot struct {
	name    string
	kernel  string // series
	stub    string // suite
	objcopy bool
	secure  bool
	shim    bool
	beside  bool // addon, credentials, extensions
	// profile is chosen by load options; the image is started by QEMU's own boot entry then, which PCR 4 shows.
	profile int
	pcrs    []uint32
}

func allPCRs() []uint32 { return []uint32{4, 7, 9, 11, 12, 13} }

// TestPrediction: what peel foretells is what firmware, stub and kernel measure: each register, each bank, event for event.
func TestPrediction(t *testing.T) {
	for _, tt := range []boot{
		{name: "257 secure", kernel: "6.12", stub: "trixie", secure: true, beside: true, pcrs: allPCRs()},
		{name: "newest", kernel: "6.12", stub: "forky", beside: true, pcrs: allPCRs()},
		{name: "252 secure", kernel: "6.12", stub: "bookworm", objcopy: true, secure: true, beside: true, pcrs: allPCRs()},
		{name: "257 shim", kernel: "6.12", stub: "trixie", secure: true, shim: true, pcrs: append(allPCRs(), 14)},
		{name: "257 profile", kernel: "6.12", stub: "trixie", profile: 1, pcrs: []uint32{9, 11, 12, 13}},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t) })
	}
}

func (tt *boot) run(t *testing.T) {
	t.Helper()
	const a, deb = image.ArchX86_64, "amd64"
	k := testkit.KernelImage(t, deb, tt.kernel)
	key := testkit.Snakeoil(t)
	o := testkit.UKIOptions{
		Arch: deb, Stub: testkit.Stub(t, deb, tt.stub), Kernel: k.Path, Initrd: initrd(t, a, k, "measured", nil),
		Cmdline: vmkit.Cmdline(t, a), Objcopy: tt.objcopy, Key: key,
	}
	if tt.profile != 0 {
		o.Extra = []string{"--profile=ID=main\nTITLE=Main"}
		var more []string
		for _, id := range []string{"one", "two"} {
			out := filepath.Join(t.TempDir(), id+".efi")
			testkit.Run(t, "", "ukify", "build", "--stub="+testkit.AddonStub(t, "amd64", tt.stub), "--profile=ID="+id,
				"--cmdline="+vmkit.Cmdline(t, a, "peel.profile="+id), "--output="+out)
			more = append(more, "--join-profile="+out)
		}
		o.Extra = append(o.Extra, more...)
	}
	uki := testkit.UKI(t, o)

	c := vmkit.Config(t, a)
	c.MemoryMiB = 1024
	c.Firmware = vmkit.Firmware(t, a, tt.secure)
	c.TPM = swtpm(t)
	var opts measure.Options
	if tt.profile != 0 {
		c.Kernel, c.Cmdline = uki, fmt.Sprintf("@%d", tt.profile)
		opts.LoadOptions = c.Cmdline
	} else {
		volume := filepath.Join(t.TempDir(), "esp")
		path := filepath.Join(volume, "EFI/BOOT/BOOTX64.EFI")
		if tt.shim {
			shim := testkit.ReadFile(t, testkit.Sign(t, key, testkit.UnsignedShim(t, "shimx64.efi")))
			put(t, path, shim)
			opts.Before = []measure.File{{Name: "shimx64.efi", Data: shim}}
			path = filepath.Join(volume, "EFI/BOOT/grubx64.efi")
		}
		put(t, path, testkit.ReadFile(t, uki))
		if tt.beside {
			tt.putBeside(t, volume, path+".extra.d", key)
		}
		c.Disks = []string{esp(t, tree(t, volume))}
		var err error
		if opts.Beside, err = measure.ReadBeside(path, volume); err != nil {
			t.Fatal(err)
		}
	}
	got := result(t, vmkit.Boot(t, c, "measured"), "probe")

	vars := filepath.Join(t.TempDir(), "efivars")
	if err := os.Mkdir(vars, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range got.Vars {
		put(t, filepath.Join(vars, name), b)
	}
	var err error
	if opts.Firmware, err = measure.ReadFirmware(vars); err != nil {
		t.Fatal(err)
	}
	compare(t, "uki.efi", testkit.ReadFile(t, uki), opts, got, tt.pcrs)
}

// putBeside puts one file of each kind beside an image.
func (tt *boot) putBeside(t *testing.T, volume, extra string, key *testkit.Key) {
	t.Helper()
	put(t, filepath.Join(extra, "b.cred"), []byte("secret b"))
	put(t, filepath.Join(extra, "a.cred"), []byte("secret a!"))
	put(t, filepath.Join(extra, "x.raw"), []byte("a system extension"))
	put(t, filepath.Join(volume, "loader/credentials/all.cred"), []byte("for all"))
	if tt.objcopy {
		return
	}
	put(t, filepath.Join(extra, "y.confext.raw"), []byte("a configuration extension"))
	for name, args := range map[string][]string{
		filepath.Join(extra, "b.addon.efi"):                 {"--cmdline=addon=b"},
		filepath.Join(extra, "a.addon.efi"):                 {"--cmdline=addon=a  two"},
		filepath.Join(volume, "loader/addons/z.addon.efi"):  {"--cmdline=addon=z"},
		filepath.Join(volume, "loader/addons/rd.addon.efi"): {"--initrd=" + testkit.WriteFile(t, "rd", testkit.Initramfs(t, testkit.Plain("added", []byte("x"))))},
	} {
		out := filepath.Join(t.TempDir(), "addon.efi")
		testkit.Run(t, "", "ukify", append([]string{"build", "--stub=" + testkit.AddonStub(t, "amd64", tt.stub), "--output=" + out}, args...)...)
		put(t, name, testkit.ReadFile(t, testkit.Sign(t, key, out)))
	}
}

// compare checks registers, replay and events.
func compare(t *testing.T, name string, img []byte, o measure.Options, got seen, pcrs []uint32) {
	t.Helper()
	p, err := measure.Predict(name, img, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Cases) != 1 {
		t.Fatalf("%d cases, want 1", len(p.Cases))
	}
	log, err := eventlog.Read(got.Log)
	if err != nil {
		t.Fatal(err)
	}
	replay, err := log.ReplayAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(got.PCRs) != len(eventlog.Banks()) {
		t.Errorf("the TPM has %d banks, want all", len(got.PCRs))
	}
	for _, h := range eventlog.Banks() {
		for _, pcr := range pcrs {
			want := got.PCRs[h.String()][fmt.Sprint(pcr)]
			if v := p.Cases[0].Values[h][pcr].String(); v != want {
				t.Errorf("PCR %d of %s is foretold as %s, is %s", pcr, h, v, want)
			}
			if v, ok := replay[h][pcr]; ok && v.String() != want {
				t.Errorf("PCR %d of %s replays to %s, is %s", pcr, h, v, want)
			}
		}
	}
	ima, err := eventlog.ReadIMA(got.IMA)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range eventlog.Banks() {
		regs, err := ima.Replay(h)
		if want := got.PCRs[h.String()]["10"]; err != nil || regs[eventlog.PCRIMA].String() != want {
			t.Errorf("PCR 10 of %s replays to %s, %v, is %s (%d entries)", h, regs[eventlog.PCRIMA], err, want, len(ima.Events))
		}
	}
	diffs, err := measure.Compare(&p.Cases[0], log, pcrs)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		t.Error(d)
	}
	if t.Failed() {
		t.Logf("notes: %q", p.Notes)
	}
}

// put writes a file and the directories above it.
func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// tree lists the files below a directory, by their path in it.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			out[filepath.ToSlash(rel)] = p
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
