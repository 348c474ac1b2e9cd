// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kexec_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/unix"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
)

// fake is a kernel that fails as it is told.
type fake struct {
	calls                       []string
	fileErr, loadErr, rebootErr error
	targetErr, loadedErr        error
	loaded                      bool
	flags                       int
	loadFlags                   uint64
	kernel, initrd              *os.File
	cmdline                     string
	entry                       uint64
	segments                    []kexec.Segment
}

func (f *fake) FileLoad(kernel, initrd *os.File, cmdline string, flags int) error {
	f.calls = append(f.calls, "kexec_file_load")
	f.kernel, f.initrd, f.cmdline, f.flags = kernel, initrd, cmdline, flags
	return wrap("kexec_file_load", f.fileErr)
}

func (f *fake) Load(entry uint64, segments []kexec.Segment, flags uint64) error {
	f.calls = append(f.calls, "kexec_load")
	f.entry, f.segments, f.loadFlags = entry, segments, flags
	return wrap("kexec_load", f.loadErr)
}

func (f *fake) Loaded() (bool, error) { return f.loaded, f.loadedErr }

func (f *fake) StartTarget(_ context.Context, name string) error {
	f.calls = append(f.calls, "start "+name)
	return f.targetErr
}

func (f *fake) Sync() { f.calls = append(f.calls, "sync") }

func (f *fake) Reboot() error {
	f.calls = append(f.calls, "reboot")
	return wrap("reboot", f.rebootErr)
}

func wrap(call string, err error) error {
	if err == nil {
		return nil
	}
	return os.NewSyscallError(call, err)
}

func TestLoadFile(t *testing.T) {
	kernel, initrd := os.Stdin, os.Stderr
	for _, tc := range []struct {
		name   string
		initrd *os.File
		flags  kexec.FileFlags
		want   int
	}{
		{"kernel and initrd", initrd, kexec.FileFlags{}, 0},
		{"no initrd", nil, kexec.FileFlags{}, unix.KexecFileNoInitramfs},
		{"crash", initrd, kexec.FileFlags{Crash: true}, unix.KexecFileOnCrash},
		{"crash without initrd, debug", nil, kexec.FileFlags{Crash: true, Debug: true},
			unix.KexecFileOnCrash | unix.KexecFileNoInitramfs | unix.KexecFileDebug},
	} {
		f := &fake{}
		c := kexec.Client{Kernel: f}
		if err := c.LoadFile(kernel, tc.initrd, "quiet", tc.flags); err != nil {
			t.Errorf("%s: LoadFile: %v", tc.name, err)
		}
		if f.flags != tc.want || f.kernel != kernel || f.initrd != tc.initrd || f.cmdline != "quiet" {
			t.Errorf("%s: flags %#x cmdline %q, want %#x %q", tc.name, f.flags, f.cmdline, tc.want, "quiet")
		}
	}
	f := &fake{}
	c := kexec.Client{Kernel: f}
	if err := c.LoadFile(nil, nil, "", kexec.FileFlags{}); !errors.Is(err, kexec.ErrInvalid) {
		t.Errorf("LoadFile(nil) = %v, want %v", err, kexec.ErrInvalid)
	}
	if err := c.LoadFile(kernel, nil, "a\x00b", kexec.FileFlags{}); !errors.Is(err, kexec.ErrInvalid) {
		t.Errorf("LoadFile with a NUL = %v, want %v", err, kexec.ErrInvalid)
	}
	if len(f.calls) != 0 {
		t.Errorf("calls %v, want none", f.calls)
	}
}

func TestLoadSegments(t *testing.T) {
	good := []kexec.Segment{{Buf: []byte("code"), Phys: 0x2000, MemSize: 0x1000}, {Phys: 0x1000, MemSize: 0x1000}}
	many := make([]kexec.Segment, 17)
	for i := range many {
		many[i] = kexec.Segment{Phys: uint64(i) * 0x1000, MemSize: 0x1000}
	}
	for _, tc := range []struct {
		name     string
		entry    uint64
		segments []kexec.Segment
		arch     image.Arch
		want     error
	}{
		{"good", 0x2000, good, image.ArchX86_64, nil},
		{"last byte", 0x2fff, good, image.ArchARM64, nil},
		{"sixteen", 0, many[:16], image.ArchRISCV64, nil},
		{"seventeen", 0, many, image.ArchRISCV64, kexec.ErrInvalid},
		{"none", 0, nil, image.ArchX86_64, kexec.ErrInvalid},
		{"entry outside", 0x3000, good, image.ArchX86_64, kexec.ErrInvalid},
		{"architecture", 0x2000, good, image.ArchPPC64LE, kexec.ErrUnsupported},
		{"address", 0x10, []kexec.Segment{{Phys: 0x10, MemSize: 0x1000}}, image.ArchX86_64, kexec.ErrInvalid},
		{"size", 0x1000, []kexec.Segment{{Phys: 0x1000, MemSize: 0x10}}, image.ArchX86_64, kexec.ErrInvalid},
		{"empty", 0x1000, []kexec.Segment{{Phys: 0x1000}}, image.ArchX86_64, kexec.ErrInvalid},
		{"buffer", 0x1000, []kexec.Segment{{Buf: make([]byte, 0x1001), Phys: 0x1000, MemSize: 0x1000}}, image.ArchX86_64, kexec.ErrInvalid},
		{"wraps", 1<<64 - 0x1000, []kexec.Segment{{Phys: 1<<64 - 0x1000, MemSize: 0x2000}}, image.ArchX86_64, kexec.ErrInvalid},
		{"overlap", 0x1000, []kexec.Segment{{Phys: 0x1000, MemSize: 0x2000}, {Phys: 0x2000, MemSize: 0x1000}}, image.ArchX86_64, kexec.ErrInvalid},
	} {
		f := &fake{}
		c := kexec.Client{Kernel: f}
		err := c.LoadSegments(tc.entry, tc.segments, tc.arch, true)
		if !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
			t.Errorf("%s: LoadSegments = %v, want %v", tc.name, err, tc.want)
		}
		if called := len(f.calls) > 0; called != (tc.want == nil) {
			t.Errorf("%s: calls %v", tc.name, f.calls)
		}
		if tc.want == nil && f.loadFlags&unix.KexecOnCrash == 0 {
			t.Errorf("%s: flags %#x lack the one for crash kernels", tc.name, f.loadFlags)
		}
	}
	f := &fake{}
	c := kexec.Client{Kernel: f, Machine: &machine.Machine{}}
	c.Machine.CPU.PageSize = machine.KnownFact(uint64(0x10000), "")
	if err := c.LoadSegments(0x2000, good, image.ArchARM64, false); !errors.Is(err, kexec.ErrInvalid) {
		t.Errorf("LoadSegments on 64 KiB pages = %v, want %v", err, kexec.ErrInvalid)
	}
}

// A locked-down kernel refuses kexec_load even to unload, so the file call
// comes first.
func TestUnload(t *testing.T) {
	for _, tc := range []struct {
		name      string
		file, seg error
		crash     bool
		calls     []string
		want      error
		call      string
	}{
		{name: "file", calls: []string{"kexec_file_load"}},
		{name: "no file call", file: unix.ENOSYS, calls: []string{"kexec_file_load", "kexec_load"}},
		{name: "no call", file: unix.ENOSYS, seg: unix.ENOSYS, calls: []string{"kexec_file_load", "kexec_load"}, want: kexec.ErrUnsupported, call: "kexec_load"},
		{name: "not permitted", file: unix.EPERM, seg: unix.EPERM, crash: true, calls: []string{"kexec_file_load", "kexec_load"}, want: kexec.ErrNotPermitted, call: "kexec_file_load"},
		{name: "busy", file: unix.EBUSY, seg: unix.EBUSY, calls: []string{"kexec_file_load", "kexec_load"}, want: kexec.ErrBusy, call: "kexec_file_load"},
	} {
		f := &fake{fileErr: tc.file, loadErr: tc.seg}
		c := kexec.Client{Kernel: f}
		err := c.Unload(tc.crash)
		if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%s: Unload = %v, want %v", tc.name, err, tc.want)
		}
		var e *kexec.Error
		if tc.call != "" && (!errors.As(err, &e) || e.Call != tc.call) {
			t.Errorf("%s: Unload = %v, want an Error of %s", tc.name, err, tc.call)
		}
		if diff := cmp.Diff(tc.calls, f.calls); diff != "" {
			t.Errorf("%s: calls -want +got\n%s", tc.name, diff)
		}
		wantFlags := unix.KexecFileUnload
		if tc.crash {
			wantFlags |= unix.KexecFileOnCrash
		}
		if f.flags != wantFlags || len(f.segments) != 0 {
			t.Errorf("%s: flags %#x segments %d, want %#x 0", tc.name, f.flags, len(f.segments), wantFlags)
		}
	}
}

func TestExec(t *testing.T) {
	systemd := &machine.Machine{Systemd: machine.KnownFact(true, "")}
	alone := &machine.Machine{Systemd: machine.KnownFact(false, "")}
	for _, tc := range []struct {
		name  string
		m     *machine.Machine
		f     fake
		force bool
		calls []string
		want  error
	}{
		{"systemd", systemd, fake{loaded: true}, false, []string{"start kexec.target"}, nil},
		{"systemd forced", systemd, fake{loaded: true}, true, []string{"sync", "reboot"}, nil},
		{"alone", alone, fake{loaded: true}, false, []string{"sync", "reboot"}, nil},
		{"no machine", nil, fake{loaded: true}, false, []string{"sync", "reboot"}, nil},
		{"nothing loaded", systemd, fake{}, false, nil, kexec.ErrNotLoaded},
		{"nothing loaded, forced", alone, fake{}, true, nil, kexec.ErrNotLoaded},
		{"state not told", alone, fake{loadedErr: os.ErrNotExist, rebootErr: unix.EINVAL}, false, []string{"sync", "reboot"}, kexec.ErrNotLoaded},
		{"not permitted", alone, fake{loaded: true, rebootErr: unix.EPERM}, false, []string{"sync", "reboot"}, kexec.ErrNotPermitted},
		{"no systemctl", systemd, fake{loaded: true, targetErr: os.ErrNotExist}, false, []string{"start kexec.target"}, os.ErrNotExist},
	} {
		f := tc.f
		c := kexec.Client{Kernel: &f, Machine: tc.m}
		err := c.Exec(context.Background(), kexec.ExecOptions{Force: tc.force})
		if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%s: Exec = %v, want %v", tc.name, err, tc.want)
		}
		if diff := cmp.Diff(tc.calls, f.calls); diff != "" {
			t.Errorf("%s: calls -want +got\n%s", tc.name, diff)
		}
	}
}

// Each errno is explained by what the machine tells.
func TestErrorsExplained(t *testing.T) {
	set := func(edit func(*machine.Machine)) *machine.Machine {
		m := machinetest.Machine(t, "x86-bios")
		edit(m)
		return m
	}
	plain := set(func(*machine.Machine) {})
	locked := machinetest.Machine(t, "x86-secureboot")
	const file, segs = "kexec_file_load", "kexec_load"
	for _, tc := range []struct {
		call  string
		errno unix.Errno
		crash bool
		m     *machine.Machine
		kind  error
		words string // of cause and remedy
	}{
		{file, unix.EPERM, false, set(func(m *machine.Machine) { m.Security.CapSysBoot.Value = false }), kexec.ErrNotPermitted, "CAP_SYS_BOOT"},
		{file, unix.EPERM, false, set(func(m *machine.Machine) { m.Kexec.LoadDisabled.Value = true }), kexec.ErrNotPermitted, "kexec_load_disabled"},
		{segs, unix.EPERM, false, set(func(m *machine.Machine) { m.Kexec.LimitReboot.Value = 0 }), kexec.ErrNotPermitted, "kexec_load_limit_reboot"},
		{file, unix.EPERM, true, set(func(m *machine.Machine) { m.Kexec.LimitPanic.Value = 0 }), kexec.ErrNotPermitted, "kexec_load_limit_panic"},
		{file, unix.EPERM, false, set(func(m *machine.Machine) { m.Security.Lockdown.Value = machine.LockdownIntegrity }), kexec.ErrRejected, "locked down (integrity)"},
		{segs, unix.EPERM, false, locked, kexec.ErrNotPermitted, "refuses kexec_load in all cases"},
		{file, unix.EPERM, false, set(func(m *machine.Machine) {
			m.Security.Lockdown.State = machine.Unknown
			m.Security.Lockdown.Why = "securityfs is not mounted"
		}), kexec.ErrNotPermitted, "securityfs"},
		{file, unix.EPERM, false, plain, kexec.ErrNotPermitted, "apparmor"},
		{segs, unix.EACCES, false, locked, kexec.ErrNotPermitted, "IMA"},
		{file, unix.EACCES, false, set(func(m *machine.Machine) {
			m.Security.IMAPolicy = machine.KnownFact([]string{"appraise func=KEXEC_KERNEL_CHECK"}, "")
		}), kexec.ErrRejected, "evmctl"},
		{file, unix.EACCES, false, plain, kexec.ErrNotPermitted, "security module"},
		{file, unix.ENOSYS, false, machinetest.Machine(t, "arm64-dtb"), kexec.ErrUnsupported, "use kexec_load"},
		{segs, unix.ENOSYS, false, plain, kexec.ErrUnsupported, "use kexec_file_load"},
		{segs, unix.ENOSYS, false, set(func(m *machine.Machine) { m.Kernel.KexecFileLoad.Value = false }), kexec.ErrUnsupported, "without kexec"},
		{file, unix.ENOEXEC, false, plain, kexec.ErrFormat, "UKI"},
		{file, unix.ENODATA, false, locked, kexec.ErrRejected, "carries none"},
		{file, unix.ENOKEY, false, locked, kexec.ErrRejected, "shim"},
		{file, unix.EKEYREJECTED, false, locked, kexec.ErrRejected, "dbx"},
		{file, unix.EKEYREVOKED, false, locked, kexec.ErrRejected, "revoked"},
		{file, unix.ENOPKG, false, locked, kexec.ErrRejected, "SHA-256"},
		{file, unix.EBADMSG, false, locked, kexec.ErrRejected, "malformed"},
		{file, unix.ELIBBAD, false, locked, kexec.ErrRejected, "malformed"},
		{file, unix.EBUSY, false, plain, kexec.ErrBusy, "another"},
		{file, unix.EADDRNOTAVAIL, true, set(func(m *machine.Machine) { m.Kexec.CrashSize.Value = 0 }), kexec.ErrNoMemory, "crashkernel="},
		{file, unix.EADDRNOTAVAIL, true, plain, kexec.ErrNoMemory, "128 MiB"},
		{file, unix.EADDRNOTAVAIL, false, plain, kexec.ErrNoMemory, "this machine has 1023 MiB"},
		{segs, unix.EADDRNOTAVAIL, false, plain, kexec.ErrInvalid, "outside of RAM"},
		{file, unix.ENOMEM, false, plain, kexec.ErrNoMemory, "free memory"},
		{file, unix.EINVAL, false, plain, kexec.ErrInvalid, "dmesg"},
		{file, unix.EINVAL, true, set(func(m *machine.Machine) { m.Kexec.CrashSize.Value = 0 }), kexec.ErrNoMemory, "crashkernel="},
		{segs, unix.EINVAL, false, plain, kexec.ErrInvalid, "half of the memory"},
		{file, unix.E2BIG, false, plain, kexec.ErrInvalid, "command line"},
		{file, unix.EFBIG, false, plain, kexec.ErrInvalid, "larger"},
		{file, unix.ETXTBSY, false, plain, kexec.ErrBusy, "open for writing"},
		{file, unix.ENOENT, false, plain, kexec.ErrUnsupported, "purgatory"},
		{file, unix.EOPNOTSUPP, false, plain, kexec.ErrUnsupported, "TDX"},
		{segs, unix.EFAULT, false, plain, kexec.ErrInvalid, "shrank"},
		{file, unix.EBADF, false, plain, kexec.ErrInvalid, "reading"},
		{file, unix.EIO, false, plain, nil, "could not be read"},
		{file, unix.EEXIST, false, plain, nil, "dmesg"},
	} {
		f := &fake{fileErr: tc.errno, loadErr: tc.errno}
		c := kexec.Client{Kernel: f, Machine: tc.m}
		var err error
		if tc.call == file {
			err = c.LoadFile(os.Stdin, nil, "quiet", kexec.FileFlags{Crash: tc.crash})
		} else {
			err = c.LoadSegments(0, []kexec.Segment{{MemSize: 0x1000}}, image.ArchX86_64, tc.crash)
		}
		var e *kexec.Error
		if !errors.As(err, &e) || e.Call != tc.call || !errors.Is(err, tc.errno) {
			t.Errorf("%s with %v: %v, want an Error with call and errno", tc.call, tc.errno, err)
			continue
		}
		if e.Kind != tc.kind || (tc.kind != nil && !errors.Is(err, tc.kind)) {
			t.Errorf("%s with %v is of kind %v, want %v", tc.call, tc.errno, e.Kind, tc.kind)
		}
		text := err.Error()
		if !strings.Contains(text, tc.words) {
			t.Errorf("%s with %v: %q lacks %q", tc.call, tc.errno, text, tc.words)
		}
		for _, part := range []string{tc.call, tc.errno.Error(), e.Cause, e.Remedy} {
			if !strings.Contains(text, part) {
				t.Errorf("%s with %v: %q lacks %q", tc.call, tc.errno, text, part)
			}
		}
	}

	f := &fake{fileErr: unix.EINVAL}
	c := kexec.Client{Kernel: f, Machine: plain}
	err := c.LoadFile(os.Stdin, nil, strings.Repeat("x", 4000), kexec.FileFlags{})
	if err == nil || !strings.Contains(err.Error(), "4000 bytes") {
		t.Errorf("EINVAL with a long command line: %v, want its length told", err)
	}
}

// The kernel's own answer on a machine where kexec is not there or not
// allowed; never succeeds, for the files are no kernel.
func TestRunningKernelRefuses(t *testing.T) {
	m, err := machine.Read("/")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(t.TempDir(), "kernel")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("no kernel"); err != nil {
		t.Fatal(err)
	}
	c := kexec.Client{Machine: m}
	err = c.LoadFile(f, nil, "", kexec.FileFlags{})
	var e *kexec.Error
	if !errors.As(err, &e) || e.Cause == "" {
		t.Errorf("LoadFile of a text file = %v, want an Error with a cause", err)
	}
}
