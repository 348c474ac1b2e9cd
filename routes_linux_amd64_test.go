// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/image/cpio"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
	"github.com/peelboot/peel/trust"
)

func openWarn(t *testing.T, path, profile string) *peel.Image {
	t.Helper()
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	v.Policy.SetMode(trust.Warn, "test")
	im, err := peel.Open(path, peel.Options{Verifier: v, Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

// byParse and byRun are the two routes from an image to a plan.
func byParse(t *testing.T, im *peel.Image, m *machine.Machine, add peel.Additions) *boot.Plan {
	t.Helper()
	b, err := im.Prepare(context.Background(), add)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	p, err := b.Plan(m, boot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func byRun(t *testing.T, im *peel.Image, m *machine.Machine, add peel.Additions, o peel.RunOptions) *boot.Plan {
	t.Helper()
	add.Nearby = nil
	c, err := im.Run(context.Background(), m, add, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p, err := c.Plan(m, boot.Options{Crash: o.Crash})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// files lists what a kernel unpacks of a plan's initial RAM disk, in order;
// a later file of the same name counts.
func files(t *testing.T, p *boot.Plan) map[string]string {
	t.Helper()
	got := map[string]string{}
	r := p.HandOver.Initrd
	if r == nil {
		return got
	}
	b := make([]byte, r.Size())
	for _, s := range p.Segments {
		from := max(s.Phys, r.Start)
		if to := min(s.Phys+uint64(len(s.Data)), r.End); from < to {
			copy(b[from-r.Start:], s.Data[from-s.Phys:to-s.Phys])
		}
	}
	for rd := cpio.NewReader(b); ; {
		e, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name] = fmt.Sprintf("%#o %d bytes %x", e.Mode, len(e.Data), sha256.Sum256(e.Data))
	}
}

// The next kernel gets the same command line and the same files, whichever
// route an image takes.
func TestRoutesAgree(t *testing.T) {
	initrd := testkit.Initramfs(t, testkit.Plain("init", bytes.Repeat([]byte("x"), 5001)))
	second := testkit.Initramfs(t, testkit.Plain("second", []byte("from outside")))
	ucode := testkit.WriteFile(t, "ucode", testkit.Initramfs(t, testkit.Plain("kernel/x86/microcode/GenuineIntel.bin", []byte("microcode"))))
	part := func(name string, args ...string) string {
		out := testkit.WriteFile(t, name, nil)
		testkit.Run(t, "", "ukify", append([]string{"build", "--stub=" + testkit.AddonStub(t, "amd64", "trixie"), "--output=" + out}, args...)...)
		return out
	}
	profiles := []string{"--profile=ID=main", "--join-profile=" + part("one", "--profile=ID=one", "--cmdline=profile one")}
	m := machinetest.Machine(t, "x86-bios")
	text := func(s string) *peel.File { return &peel.File{Name: "text", Data: []byte(s)} }
	for _, tt := range []struct {
		name    string
		path    func() string
		profile string
		add     peel.Additions
	}{
		{name: "bzImage", path: func() string { return testkit.Kernel(t, "amd64", "6.12") },
			add: peel.Additions{Initrds: []peel.File{{Data: initrd}, {Data: second}}, Cmdline: text("console=ttyS0  a"), Append: text("b")}},
		{name: "bzImage 6.1", path: func() string { return testkit.Kernel(t, "amd64", "6.1") },
			add: peel.Additions{Initrds: []peel.File{{Data: initrd}}, Cmdline: text("console=ttyS0")}},
		{name: "UKI", path: func() string {
			return testkit.UKI(t, testkit.UKIOptions{Initrd: initrd, Cmdline: "quiet  uki \u00e4", Extra: []string{"--microcode=" + ucode}})
		}},
		{name: "UKI of systemd 260 and later, appended", path: func() string {
			return testkit.UKI(t, testkit.UKIOptions{Stub: testkit.Stub(t, "amd64", "forky"), Initrd: initrd, Cmdline: "quiet uki"})
		}, add: peel.Additions{Append: text("more")}},
		{name: "profile", path: func() string {
			return testkit.UKI(t, testkit.UKIOptions{Initrd: initrd, Cmdline: "main", Extra: profiles})
		}, profile: "one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			im := openWarn(t, tt.path(), tt.profile)
			parsed, ran := byParse(t, im, m, tt.add), byRun(t, im, m, tt.add, peel.RunOptions{})
			if a, b := parsed.HandOver.Cmdline, ran.HandOver.Cmdline; a != b || a == "" {
				t.Errorf("command line by parse = %q, by run = %q", a, b)
			}
			if d := cmp.Diff(files(t, parsed), files(t, ran)); d != "" {
				t.Errorf("files of the initial RAM disk, -parse +run:\n%s", d)
			}
			if d := cmp.Diff(parsed.HandOver.BootParams.E820, ran.HandOver.BootParams.E820); d != "" {
				t.Errorf("memory map, -parse +run:\n%s", d)
			}
		})
	}
}

// A stub that is shown the crash region alone makes a crash kernel.
func TestRunCrash(t *testing.T) {
	m := machinetest.Machine(t, "x86-bios")
	im := openWarn(t, testkit.Kernel(t, "amd64", "6.12"), "")
	add := peel.Additions{Cmdline: &peel.File{Data: []byte("irqpoll")}, Initrds: []peel.File{{Data: []byte("initrd")}}}
	// As a kernel tells root, where kexec_load is not all that it has.
	m.Kexec.CrashNotes = machine.KnownFact([]machine.Range{{Start: 0x1000000, Last: 0x1000163}}, "test")
	m.Kexec.VMCoreInfo = machine.KnownFact(machine.Range{Start: 0x2000000, Last: 0x2001023}, "test")
	p := byRun(t, im, m, add, peel.RunOptions{Crash: true})
	region := m.Memory.Crash.Value[0]
	for _, s := range p.Segments {
		if s.Phys < region.Start || s.Phys+s.MemSize > region.End() {
			t.Errorf("segment %s %#x+%#x is not in the crash region %v", s.Name, s.Phys, s.MemSize, region)
		}
	}
	if line := p.HandOver.Cmdline; !strings.HasPrefix(line, "elfcorehdr=0x") || !strings.HasSuffix(line, " irqpoll") {
		t.Errorf("command line = %q", line)
	}
	none := *m
	none.Memory.Crash = machine.KnownFact([]machine.Range{}, "test")
	if _, err := im.Run(context.Background(), &none, add, peel.RunOptions{Crash: true}); !errors.Is(err, boot.ErrCrash) {
		t.Errorf("Run without a crash region = %v, want %v", err, boot.ErrCrash)
	}
}

// Bounds of addresses hold for the stub as well.
func TestRunBounds(t *testing.T) {
	m := machinetest.Machine(t, "x86-bios")
	im := openWarn(t, testkit.Kernel(t, "amd64", "6.12"), "")
	const low, high = 0x2000000, 0x20000000
	add := peel.Additions{Cmdline: &peel.File{Data: []byte("quiet")}}
	c, err := im.Run(context.Background(), m, add, peel.RunOptions{Min: low, Max: high})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.Plan(m, boot.Options{Min: low, Max: high})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Segments {
		if s.Phys < low || s.Phys+s.MemSize > high {
			t.Errorf("segment %s %#x+%#x is not between %#x and %#x", s.Name, s.Phys, s.MemSize, low, high)
		}
	}
	if _, err := im.Run(context.Background(), m, add, peel.RunOptions{Min: 1 << 40}); !errors.Is(err, boot.ErrNoRoom) {
		t.Errorf("Run where no memory is = %v, want %v", err, boot.ErrNoRoom)
	}
}

func TestRunConfidential(t *testing.T) {
	m := machinetest.Machine(t, "x86-bios")
	m.Confidential = machine.KnownFact(machine.ConfidentialSEV, "test")
	im := openWarn(t, testkit.Kernel(t, "amd64", "6.12"), "")
	_, err := im.Run(context.Background(), m, peel.Additions{}, peel.RunOptions{})
	if !errors.Is(err, efi.ErrUnsupported) || !strings.Contains(err.Error(), "confidential guest (sev)") {
		t.Errorf("Run in a confidential guest = %v, want %v that says so", err, efi.ErrUnsupported)
	}
}

// What an ordinary user is told is enough for a plan to look at, by either
// route, and not for one to load.
func TestPreview(t *testing.T) {
	user := machinetest.Machine(t, "x86-bios-user")
	if user.Memory.Usable.Known() {
		t.Fatal("the recording of a user's view tells which memory is free")
	}
	m, why := peel.Preview(user)
	if !strings.Contains(why, "/sys/firmware/memmap") || m == user || user.Memory.Usable.Known() {
		t.Fatalf("Preview() = %q, and the machine it was given has changed: %v", why, user.Memory.Usable.Known())
	}
	im := openWarn(t, testkit.Kernel(t, "amd64", "6.12"), "")
	add := peel.Additions{Cmdline: &peel.File{Data: []byte("quiet")}}
	for _, p := range []*boot.Plan{byParse(t, im, m, add), byRun(t, im, m, add, peel.RunOptions{})} {
		if p.HandOver.Cmdline != "quiet" || len(p.Segments) < 3 {
			t.Errorf("preview:\n%s", p)
		}
	}
	if root := machinetest.Machine(t, "x86-bios"); root != nil {
		if m, why := peel.Preview(root); m != root || why != "" {
			t.Errorf("Preview(of what root is told) = %q", why)
		}
	}
	arm := machinetest.Machine(t, "x86-bios-user")
	arm.Memory.Map = machine.Fact[[]machine.MemoryRange]{}
	if m, why := peel.Preview(arm); m != arm || why != "" {
		t.Errorf("Preview without any map = %q", why)
	}
	b, err := im.Prepare(context.Background(), add)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := peel.LoadPlan(&kexec.Client{Machine: m}, &boot.Plan{Preview: why}); !errors.Is(err, peel.ErrPreview) {
		t.Errorf("load of a preview = %v, want %v", err, peel.ErrPreview)
	}
}
