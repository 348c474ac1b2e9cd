// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	arch    image.Arch // empty is x86-64
	kernel  string     // series
	stub    string     // suite
	objcopy bool
	secure  bool
	shim    bool
	owner   bool // the image is signed by a key of the machine's owner, which shim knows and firmware does not
	beside  bool // addon, credentials, extensions
	// hardware is for a machine that the image knows by its hardware IDs: device trees to choose from, microcode, and with beside
	// addons of these.
	hardware bool
	// pcrlock asks systemd-pcrlock for its prediction too.
	pcrlock bool
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
	if tt.arch == "" {
		tt.arch = image.ArchX86_64
	}
	a, deb := tt.arch, debian(tt.arch)
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
			testkit.Run(t, "", "ukify", "build", "--stub="+testkit.AddonStub(t, debian(tt.arch), tt.stub), "--profile=ID="+id,
				"--cmdline="+vmkit.Cmdline(t, a, "peel.profile="+id), "--output="+out)
			more = append(more, "--join-profile="+out)
		}
		o.Extra = append(o.Extra, more...)
	}
	var ownerKey *testkit.Key
	if tt.owner {
		ownerKey = testkit.NewKey(t, "owner of the machine")
		o.Key = ownerKey
	}
	c := vmkit.Config(t, a)
	c.MemoryMiB = 1024
	tree := -1
	if tt.hardware {
		o.Extra = append(o.Extra, hardware(t)...)
		tree, c.Extra = 1, []string{"-smbios", "type=1,manufacturer=" + smbiosMaker + ",product=" + smbiosProduct}
	}
	uki := testkit.UKI(t, o)

	c.Firmware = vmkit.Firmware(t, a, tt.secure)
	if tt.owner {
		vars := filepath.Join(t.TempDir(), "vars.fd")
		testkit.Run(t, "", "virt-fw-vars", "--input", c.Firmware.Vars, "--output", vars,
			"--add-mok", "5a1a7b7e-0c5b-4f7e-9d7d-6f0f3c1d2e4b", ownerKey.CertPEM)
		c.Firmware.Vars = vars
	}
	c.TPM = testkit.MachineTPM(t)
	var opts measure.Options
	if tt.profile != 0 {
		c.Kernel, c.Cmdline = uki, fmt.Sprintf("@%d", tt.profile)
		opts.LoadOptions = c.Cmdline
	} else {
		volume := filepath.Join(t.TempDir(), "esp")
		path := filepath.Join(volume, "EFI/BOOT/BOOTX64.EFI")
		if a == image.ArchARM64 {
			path = filepath.Join(volume, "EFI/BOOT/BOOTAA64.EFI")
		}
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
		c.Disks = []string{esp(t, files(t, volume))}
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
	best := compare(t, testkit.ReadFile(t, uki), opts, tree, got, tt.pcrs)
	if a == image.ArchX86_64 {
		compareIMA(t, got)
	}
	if tt.pcrlock {
		pcrlock(t, uki, k.Path, best, got.Log)
	}
}

// What the machine of the test calls itself.
const (
	smbiosMaker   = "peel tests"
	smbiosProduct = "board one"
)

// hardware returns the arguments for ukify of an image with two device trees, of which the second is for the machine of the
// test, and microcode. No processor knows either of them.
func hardware(t *testing.T) []string {
	t.Helper()
	ids := filepath.Join(t.TempDir(), "hwids")
	args := []string{"--hwids=" + ids, "--microcode=" + testkit.WriteFile(t, "ucode", testkit.Initramfs(t, testkit.Plain("kernel/x86/microcode/none", []byte("microcode"))))}
	for i, name := range []string{"zero", "one"} {
		args = append(args, "--devicetree-auto="+deviceTree(t, "peel,"+name))
		product := smbiosProduct
		if i == 0 {
			product = "board zero"
		}
		text, err := json.Marshal(map[string]any{"type": "devicetree", "name": "Board " + name, "compatible": "peel," + name, "hwids": []string{hardwareID(smbiosMaker, product)}})
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(ids, name+".json"), text)
	}
	return args
}

// hardwareID is a machine's HardwareID-9: that of manufacturer and product, a UUID of version 5 ("Specifying Hardware IDs for a
// Computer", Windows drivers documentation).
func hardwareID(maker, product string) string {
	name := eventlog.UTF16(maker + "&" + product)
	b := append([]byte{0x70, 0xff, 0xd8, 0x12, 0x4c, 0x7f, 0x4c, 0x7d, 0, 0, 0, 0, 0, 0, 0, 0}, name[:len(name)-2]...)
	d := sha1.Sum(b)
	d[6], d[8] = d[6]&0x0f|0x50, d[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", d[:4], d[4:6], d[6:8], d[8:10], d[10:16])
}

// deviceTree returns the path of a device tree for a machine.
func deviceTree(t *testing.T, compatible string) string {
	t.Helper()
	src := testkit.WriteFile(t, "x.dts", fmt.Appendf(nil, "/dts-v1/; / { compatible = \"%s\"; model = \"%s\"; };", compatible, compatible))
	out := filepath.Join(t.TempDir(), "x.dtb")
	testkit.Run(t, "", "dtc", "-q", "-I", "dts", "-O", "dtb", "-o", out, src)
	return out
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
	addons := map[string][]string{
		filepath.Join(extra, "b.addon.efi"):                 {"--cmdline=addon=b"},
		filepath.Join(extra, "a.addon.efi"):                 {"--cmdline=addon=a  two"},
		filepath.Join(volume, "loader/addons/z.addon.efi"):  {"--cmdline=addon=z"},
		filepath.Join(volume, "loader/addons/rd.addon.efi"): {"--initrd=" + testkit.WriteFile(t, "rd", testkit.Initramfs(t, testkit.Plain("added", []byte("x"))))},
	}
	if tt.hardware {
		ucode := func(text string) string {
			return "--microcode=" + testkit.WriteFile(t, "ucode", testkit.Initramfs(t, testkit.Plain("kernel/x86/microcode/none", []byte(text))))
		}
		addons[filepath.Join(extra, "c.addon.efi")] = []string{ucode("one"), "--devicetree=" + deviceTree(t, "peel,c")}
		addons[filepath.Join(extra, "d.addon.efi")] = []string{ucode("another"), "--cmdline=addon=d"}
		addons[filepath.Join(volume, "loader/addons/dt.addon.efi")] = []string{"--devicetree=" + deviceTree(t, "peel,dt")}
	}
	for name, args := range addons {
		out := filepath.Join(t.TempDir(), "addon.efi")
		testkit.Run(t, "", "ukify", append([]string{"build", "--stub=" + testkit.AddonStub(t, debian(tt.arch), tt.stub), "--output=" + out}, args...)...)
		put(t, name, testkit.ReadFile(t, testkit.Sign(t, key, out)))
	}
}

// compare checks registers, replay and events against the case of a device tree (-1 is none), and returns that.
func compare(t *testing.T, img []byte, o measure.Options, tree int, got seen, pcrs []uint32) *measure.Case {
	t.Helper()
	p, err := measure.Predict("uki.efi", img, o)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(p.Cases, func(c measure.Case) bool { return c.DeviceTree == tree })
	if at < 0 || tree < 0 && len(p.Cases) != 1 {
		t.Fatalf("%d cases, want one, or one with device tree %d", len(p.Cases), tree)
	}
	c := &p.Cases[at]
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
			if v := c.Values[h][pcr].String(); v != want {
				t.Errorf("PCR %d of %s is foretold as %s, is %s", pcr, h, v, want)
			}
			if v, ok := replay[h][pcr]; ok && v.String() != want {
				t.Errorf("PCR %d of %s replays to %s, is %s", pcr, h, v, want)
			}
		}
	}
	diffs, err := measure.Compare(c, log, pcrs)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		t.Error(d)
	}
	if t.Failed() {
		t.Logf("notes: %q", p.Notes)
	}
	return c
}

// compareIMA checks that IMA's list replays to PCR 10. IMA looks for a TPM before modules can be loaded: where the TPM's driver
// is one, the list is there and PCR 10 stays as it was.
func compareIMA(t *testing.T, got seen) {
	t.Helper()
	ima, err := eventlog.ReadIMA(got.IMA)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range eventlog.Banks() {
		regs, err := ima.Replay(h)
		if padded, ok := ima.PadIMA(h); ok && err == nil && regs[eventlog.PCRIMA].String() != got.PCRs[h.String()]["10"] {
			regs, err = padded.Replay(h)
		}
		if want := got.PCRs[h.String()]["10"]; err != nil || regs[eventlog.PCRIMA].String() != want {
			t.Errorf("PCR 10 of %s replays to %s, %v, is %s (%d entries)", h, regs[eventlog.PCRIMA], err, want, len(ima.Events))
		}
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

// files lists the files below a directory, by their path in it.
func files(t *testing.T, dir string) map[string]string {
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
