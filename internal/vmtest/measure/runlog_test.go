// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// stubPCRs are those that stub and kernel extend; of PCR 4 only the images that are loaded can be known to a process.
func stubPCRs() []uint32 { return []uint32{4, 9, 11, 12, 13} }

// runLog lets the image's own stub measure itself in a process of this machine, and returns its log.
func runLog(t *testing.T, path, volume string, args ...string) *eventlog.Log {
	t.Helper()
	out := filepath.Join(t.TempDir(), "run.log")
	cmd := exec.Command(testkit.BuildBinary(t, "./cmd/peel", "amd64"), append([]string{"measure", path, "--esp", volume, "--via", "run",
		"--policy", "off", "--write", out}, args...)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, b)
	}
	l, err := eventlog.Read(testkit.ReadFile(t, out))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// compareLogs compares what an image measured in a process with what it measured on firmware: event for event, digests of all banks
// that both have, and data but for that of loaded images, which has addresses.
func compareLogs(t *testing.T, mine, firmware *eventlog.Log, more ...uint32) {
	t.Helper()
	events := func(l *eventlog.Log, pcr uint32) []eventlog.Event {
		return slices.DeleteFunc(l.For(pcr), func(e eventlog.Event) bool {
			return !e.Extends() || pcr == measure.PCRBootLoader && e.Type != eventlog.EFIBootServicesApp
		})
	}
	compared := 0
	for _, pcr := range append(stubPCRs(), more...) {
		got, want := events(mine, pcr), events(firmware, pcr)
		if len(got) != len(want) {
			t.Errorf("PCR %d: %d events in a process, %d on firmware", pcr, len(got), len(want))
		}
		for i := range min(len(got), len(want)) {
			g, w := got[i], want[i]
			if g.Type != w.Type || pcr != measure.PCRBootLoader && !bytes.Equal(g.Data, w.Data) {
				t.Errorf("PCR %d event %d: %v %q in a process, %v %q on firmware", pcr, i, g.Type, g.Describe(), w.Type, w.Describe())
			}
			for _, h := range firmware.Banks {
				a, _ := g.Digest(h)
				b, _ := w.Digest(h)
				if !bytes.Equal(a, b) {
					t.Errorf("PCR %d event %d (%q): %s %x in a process, %x on firmware", pcr, i, w.Describe(), h, a, b)
				}
				compared++
			}
		}
	}
	if compared == 0 {
		t.Error("nothing to compare")
	}
	t.Logf("%d digests are equal", compared)
}

// TestRunLog: firmware boots a UKI with an addon and a credential. Its log has, event for event, what the same image measures when it
// runs as a process. That kernel then lets a second image's stub run in a process and starts what it has prepared by a measured
// kexec; the second kernel finds its TPM as the log says that it was handed, and as both routes foretell.
func TestRunLog(t *testing.T) {
	const a = image.ArchX86_64
	k := testkit.KernelImage(t, "amd64", "6.12")
	uki := func(name string, steps []guest.Step, files ...testkit.File) []byte {
		path := testkit.UKI(t, testkit.UKIOptions{Name: name + ".efi", Kernel: k.Path, Cmdline: vmkit.Cmdline(t, a),
			Initrd: initrd(t, a, k, name, steps, append(files, vmkit.Peel(t, a))...)})
		return testkit.ReadFile(t, path)
	}
	second := uki("second", named("second", peel("verify", "measure", "--verify", "--json"), peel("show", "measure", "--log", measure.HandoverPath)))
	first := uki("first", named("first", append([]guest.Step{
		peel("refused", "load", "/img/second.efi", "--policy", "warn", "--via", "run", "--measure", "extend", "--dry-run"),
	}, kexecSteps("extend", "/img/second.efi", "--policy", "warn", "--via", "run", "--measure-pcr", "4,9,11,12,13")...)...),
		testkit.Plain("img/second.efi", second))

	volume := filepath.Join(t.TempDir(), "esp")
	path := filepath.Join(volume, "EFI/BOOT/BOOTX64.EFI")
	put(t, path, first)
	put(t, path+".extra.d/a.cred", []byte("a credential"))
	addon := filepath.Join(t.TempDir(), "addon.efi")
	testkit.Run(t, "", "ukify", "build", "--stub="+testkit.AddonStub(t, "amd64", "trixie"), "--cmdline=addon=a", "--output="+addon)
	put(t, path+".extra.d/a.addon.efi", testkit.ReadFile(t, addon))

	c := vmkit.Config(t, a)
	c.MemoryMiB = 2048
	c.Firmware = vmkit.Firmware(t, a, false)
	c.TPM = testkit.MachineTPM(t, "sha256", "sha384")
	c.Disks = []string{esp(t, files(t, volume))}
	mine := runLog(t, path, volume)
	run := vmkit.Boot(t, c, "second")

	firmware, err := eventlog.Read(result(t, run, "first probe").Log)
	if err != nil {
		t.Fatal(err)
	}
	compareLogs(t, mine, firmware)

	if r := run.Result("first load"); r.Status != 0 {
		t.Errorf("peel load --via run --measure extend: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
	// An image that nobody vouches for is measured itself, or its stub is not believed.
	if r := run.Result("first refused"); r.Status == 0 || !strings.Contains(r.Stderr, "PCR 4") {
		t.Errorf("peel load without PCR 4: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
	var v measure.Verdict
	r := run.Result("second verify")
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		t.Fatalf("verify: %v: %s%s", err, r.Stdout, r.Stderr)
	}
	if r.Status != 0 || !v.OK() || v.Kexecs != 1 || len(v.Unlogged) != 0 || len(v.Checks) != 2*5 {
		t.Errorf("verify: status %d, %+v, want one kexec and all explained", r.Status, v)
	}
	if r := run.Result("second show"); r.Status != 0 || !strings.Contains(r.Stdout, "what follows was measured by peel") {
		t.Errorf("the log that was handed over: status %d, %s%s, want the separator in it", r.Status, r.Stdout, r.Stderr)
	}

	// What the parse route foretells of the same kexec.
	banks := []eventlog.Hash{eventlog.SHA256, eventlog.SHA384}
	before := foretell(t, first)
	p, err := measure.PlanKexec("second.efi", second, 0, &image.Payload{}, measure.KexecOptions{Mode: measure.ModeExtend, Banks: banks, PCRs: []uint32{11}, Before: before})
	if err != nil {
		t.Fatal(err)
	}
	got := result(t, run, "second probe")
	for _, h := range banks {
		if v, want := got.PCRs[h.String()]["11"], p.After[h][11].String(); v != want {
			t.Errorf("PCR 11 of %s is %s after a kexec through the run route, foretold as %s", h, v, want)
		}
	}
}
