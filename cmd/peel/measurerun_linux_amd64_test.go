// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// ukiOnVolume writes a real UKI into a boot partition, with things beside it.
func ukiOnVolume(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "EFI/Linux/x.efi")
	img := testkit.UKI(t, testkit.UKIOptions{Cmdline: "from=uki", Initrd: []byte("initrd")})
	for name, b := range map[string][]byte{
		path:                                 testkit.ReadFile(t, img),
		path + ".extra.d/a.cred":             []byte("secret"),
		dir + "/loader/credentials/all.cred": []byte("for all"),
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// The image's own stub measures what is computed from the file.
func TestMeasureRun(t *testing.T) {
	img := ukiOnVolume(t)
	log := filepath.Join(t.TempDir(), "log")
	out, _ := measureRun(t, exitDone, img, "--via", "run", "--policy", "warn", "--explain", "--write", log, "--load-options", "of the loader")
	for _, want := range []string{"extend 11 EV_IPL", "extend 12 EV_IPL", "extend 9  EV_EVENT_TAG", "extend 4  EV_EFI_BOOT_SERVICES_APPLICATION", "PCR 13 sha256"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, _ := measureRun(t, exitDone, img, "--load-options", "of the loader", "--compare", log); !strings.Contains(out, "what was foretold") {
		t.Errorf("--compare with what the stub has measured says %s", out)
	}
	out, _ = measureRun(t, exitDone, img, "--via", "run", "--policy", "warn", "--compare", "parse")
	if !strings.Contains(out, "what was foretold") {
		t.Errorf("--via run --compare parse says %s", out)
	}
	out, _ = measureRun(t, exitFailed, img, "--via", "run", "--policy", "warn", "--compare", log, "--pcr", "12")
	if !strings.Contains(out, "PCR 12 event 0") {
		t.Errorf("--compare with other load options says %s", out)
	}

	var p [2]measure.Prediction
	for i, args := range [][]string{{}, {"--via", "run", "--policy", "warn"}} {
		out, _ := measureRun(t, exitDone, append([]string{img, "--json", "--secure-boot", "on", "--phase", "enter-initrd"}, args...)...)
		if err := json.Unmarshal([]byte(out), &p[i]); err != nil {
			t.Fatal(err)
		}
	}
	for h, regs := range p[0].Cases[0].Values {
		for pcr, v := range regs {
			if got := p[1].Cases[0].Values[h][pcr]; got.String() != v.String() {
				t.Errorf("PCR %d of %s is %s as the stub has it, %s by the file", pcr, h, got, v)
			}
		}
	}
	if got := p[1].Cases[0].Cmdline; got != p[0].Cases[0].Cmdline {
		t.Errorf("command line %q as the stub has it, %q by the file", got, p[0].Cases[0].Cmdline)
	}
}

// In a confidential guest the events of PCR 9 to 13 are in one register.
func TestMeasureRunCC(t *testing.T) {
	img := ukiOnVolume(t)
	out, _ := measureRun(t, exitDone, img, "--bank", "sha384", "--json", "--explain")
	var want struct {
		Cases []struct {
			Events []struct {
				PCR     uint32            `json:"pcr"`
				Digests []eventlog.Digest `json:"digests"`
			} `json:"events"`
		} `json:"cases"`
	}
	if err := json.Unmarshal([]byte(out), &want); err != nil {
		t.Fatal(err)
	}
	out, _ = measureRun(t, exitDone, img, "--via", "run", "--policy", "warn", "--cc", "tdx", "--json", "--explain")
	var got struct {
		RTMR2 eventlog.Bytes `json:"rtmr2"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	// The prediction is by register; the log has the order in which the
	// stub comes to them: its sections, what lies beside, the kernel.
	r, n := eventlog.Initial(eventlog.SHA384, 0), 0
	for _, pcr := range []uint32{11, 12, 13, 9} {
		for _, e := range want.Cases[0].Events {
			if e.PCR == pcr {
				r, n = eventlog.SHA384.Extend(r, e.Digests[0].Value), n+1
			}
		}
	}
	if got.RTMR2.String() != eventlog.Bytes(r).String() {
		t.Errorf("RTMR2 = %s, want %s of %d events", got.RTMR2, eventlog.Bytes(r), n)
	}
	out, _ = measureRun(t, exitDone, img, "--via", "run", "--policy", "warn", "--cc", "tdx", "--explain")
	if !strings.Contains(out, "RTMR2 sha384 "+got.RTMR2.String()) || !strings.Contains(out, "extend RTMR1 EV_EFI_BOOT_SERVICES_APPLICATION") {
		t.Errorf("text is\n%s", out)
	}
}

// Code of an image runs only when the policy lets it.
func TestMeasureRunRefused(t *testing.T) {
	img := ukiOnVolume(t)
	if out, _ := measureRun(t, exitRefused, img, "--via", "run", "--policy", "enforce"); strings.Contains(out, "PCR") {
		t.Errorf("registers of a refused image:\n%s", out)
	}
	for _, args := range [][]string{{img, "--via", "walk"}, {"--running", "--via", "run"}, {img, "--trace"}, {img, "--cc", "tdx"},
		{img, "--via", "run", "--cc", "sev"}, {img, "--via", "run", "--cc", "tdx", "--compare", "parse"}} {
		if _, errw := measureRun(t, exitUsage, args...); errw == "" {
			t.Errorf("peel measure %q says nothing", args)
		}
	}
}

// A load through the run route hands over the log that the stub has made:
// behind the RAM disk of the plan.
func TestLoadRunMeasured(t *testing.T) {
	img := ukiOnVolume(t)
	root := t.TempDir()
	recording := filepath.Join(testkit.ModuleDir(t), "machine", "testdata", "x86-bios.tar.gz")
	if out, err := exec.Command("tar", "-xzf", recording, "-C", root).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	size := func(args ...string) uint64 {
		t.Helper()
		r := call(t, append([]string{"load", img, "--root", root, "--via", "run", "--policy", "warn", "--dry-run", "--json"}, args...)...)
		var o struct {
			Plan struct {
				HandOver struct {
					Initrd struct{ Start, End uint64 } `json:"initrd"`
				} `json:"hand_over"`
			} `json:"plan"`
		}
		if err := json.Unmarshal([]byte(r.stdout), &o); err != nil {
			t.Fatalf("%v: %s%s", err, r.stdout, r.err)
		}
		return o.Plan.HandOver.Initrd.End - o.Plan.HandOver.Initrd.Start
	}
	without, with := size(), size("--measure", "log", "--tpm", "/nonexistent")
	if with < without+1000 {
		t.Errorf("RAM disk of %d bytes with a log, %d without", with, without)
	}
	call(t, "load", img, "--root", root, "--via", "run", "--policy", "warn", "--dry-run", "--measure", "extend", "--tpm", "/nonexistent").
		want(t, "extend without a TPM", exitFailed, "no TPM")
	// An image that nobody vouches for is measured itself.
	extend := []string{"load", img, "--root", root, "--via", "run", "--policy", "warn", "--dry-run", "--measure", "extend", "--tpm", testkit.SoftwareTPM(t)}
	call(t, extend...).want(t, "extend without PCR 4", exitUsage, "--measure-pcr 4,")
	call(t, append(extend, "--measure-pcr", "4,9,11,12,13")...).want(t, "extend with PCR 4", 0, "nothing is loaded")
	call(t, "load", img, "--root", root, "--via", "run", "--policy", "warn", "--dry-run", "--measure", "sometimes").
		want(t, "--measure sometimes", exitUsage)
}

// Words of SMBIOS: those of this machine are what its own stub finds.
func TestMeasureSMBIOS(t *testing.T) {
	img := ukiOnVolume(t)
	root := t.TempDir()
	for name, data := range map[string]string{
		"sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\x06\x00\x00\x00\x00",
		"sys/firmware/dmi/tables/smbios_entry_point":                               "_SM3_\x00\x18\x03\x05\x00\x01\x00" + strings.Repeat("\x00", 12),
		"sys/firmware/dmi/tables/DMI":                                              "\x0b\x05\x00\x00\x01io.systemd.stub.kernel-cmdline-extra=from=smbios\x00\x00\x7f\x04\x01\x00\x00\x00",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	here := []string{img, "--here", "--root", root}
	out, _ := measureRun(t, exitDone, append(here, "--via", "run", "--policy", "warn", "--compare", "parse")...)
	if !strings.Contains(out, "what was foretold") {
		t.Errorf("--here --via run --compare parse says %s", out)
	}
	for _, args := range [][]string{here, {img, "--smbios-cmdline", "from=smbios"}} {
		out, _ := measureRun(t, exitDone, append(args, "--json")...)
		var p measure.Prediction
		if err := json.Unmarshal([]byte(out), &p); err != nil {
			t.Fatal(err)
		}
		if got, want := p.Cases[0].Cmdline, "from=uki from=smbios"; got != want {
			t.Errorf("measure %q: command line %q, want %q", args, got, want)
		}
	}
	measureRun(t, exitUsage, img, "--via", "run", "--policy", "warn", "--smbios-cmdline", "x")
}
