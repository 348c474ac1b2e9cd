// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/unix"
	"github.com/peelboot/peel/machine"
)

// Kernel is what Client needs of the running kernel and of the system's
// manager. Errors of system calls must be found by errors.As as an errno.
type Kernel interface {
	// FileLoad is kexec_file_load(2); nil files are -1.
	FileLoad(kernel, initrd *os.File, cmdline string, flags int) error
	// Load is kexec_load(2).
	Load(entry uint64, segments []Segment, flags uint64) error
	// Loaded reads /sys/kernel/kexec_loaded now.
	Loaded() (bool, error)
	// StartTarget asks systemd to start a target, replacing what it is at.
	StartTarget(ctx context.Context, name string) error
	// Sync is sync(2).
	Sync()
	// Reboot is reboot(2) with LINUX_REBOOT_CMD_KEXEC.
	Reboot() error
}

// Client loads, starts and drops kernels.
type Client struct {
	// Machine is the snapshot that errors are explained by.
	Machine *machine.Machine
	// Kernel is the running kernel when nil.
	Kernel Kernel
	// Log is told what is done; nil is silent.
	Log *slog.Logger
}

func (c *Client) kernel() Kernel {
	if c.Kernel != nil {
		return c.Kernel
	}
	return running{}
}

func (c *Client) debug(msg string, args ...any) {
	if c.Log != nil {
		c.Log.Debug(msg, args...)
	}
}

// FileFlags change what LoadFile does.
type FileFlags struct {
	// Crash loads the kernel that a panic starts.
	Crash bool
	// Debug makes the running kernel log where it puts what (Linux 6.8).
	Debug bool
}

// LoadFile loads a kernel by kexec_file_load(2), in place of one loaded
// before. The files should be sealed memfds, so that what was verified is
// what gets loaded; initrd may be nil. When it fails, a kernel loaded before
// stays loaded, except that a crash kernel may have been dropped.
func (c *Client) LoadFile(kernel, initrd *os.File, cmdline string, f FileFlags) error {
	if kernel == nil {
		return fmt.Errorf("%w: kexec_file_load without a kernel", ErrInvalid)
	}
	if i := strings.IndexByte(cmdline, 0); i >= 0 {
		return fmt.Errorf("%w: command line has a NUL at byte %d", ErrInvalid, i)
	}
	flags := 0
	if initrd == nil {
		flags |= unix.KexecFileNoInitramfs
	}
	if f.Crash {
		flags |= unix.KexecFileOnCrash
	}
	if f.Debug {
		flags |= unix.KexecFileDebug
	}
	c.debug("kexec_file_load", "flags", fmt.Sprintf("%#x", flags), "cmdline", cmdline)
	err := c.kernel().FileLoad(kernel, initrd, cmdline, flags)
	return c.explain(attempt{call: callFileLoad, crash: f.Crash, cmdline: len(cmdline)}, err)
}

// SegmentMax is the number of segments kexec_load takes (KEXEC_SEGMENT_MAX).
const SegmentMax = unix.KexecSegmentMax

// Segment is a piece of memory that kexec_load fills.
type Segment struct {
	// Buf is copied to Phys; the rest of MemSize is zeroed. A view that
	// must not change during the call.
	Buf []byte
	// Phys is the physical address, in bytes, a multiple of the page size.
	Phys uint64
	// MemSize is the size in memory, in bytes, a multiple of the page size
	// and not less than len(Buf).
	MemSize uint64
}

// LoadSegments loads segments by kexec_load(2), in place of a kernel loaded
// before; entry is the physical address at which the new kernel, or its
// trampoline, starts. What the call is sure to refuse is refused here with a
// better reason, wrapping ErrInvalid. Failure leaves things as LoadFile does.
func (c *Client) LoadSegments(entry uint64, segments []Segment, arch image.Arch, crash bool) error {
	flags, err := archFlag(arch)
	if err != nil {
		return err
	}
	if err := c.checkSegments(entry, segments); err != nil {
		return err
	}
	if crash {
		flags |= unix.KexecOnCrash
	}
	c.debug("kexec_load", "flags", fmt.Sprintf("%#x", flags), "entry", fmt.Sprintf("%#x", entry), "segments", len(segments))
	err = c.kernel().Load(entry, segments, flags)
	return c.explain(attempt{call: callLoad, crash: crash}, err)
}

func archFlag(arch image.Arch) (uint64, error) {
	switch arch {
	case image.ArchX86_64:
		return unix.KexecArchX86_64, nil
	case image.ArchARM64:
		return unix.KexecArchAArch64, nil
	case image.ArchRISCV64:
		return unix.KexecArchRISCV, nil
	case image.ArchLoongArch64:
		return unix.KexecArchLoongArch, nil
	}
	return 0, fmt.Errorf("%w: kexec_load for architecture %q", ErrUnsupported, arch)
}

func (c *Client) checkSegments(entry uint64, segments []Segment) error {
	if len(segments) == 0 || len(segments) > SegmentMax {
		return fmt.Errorf("%w: %d segments, want 1 to %d", ErrInvalid, len(segments), SegmentMax)
	}
	page := uint64(4096)
	if c.Machine != nil {
		page = c.Machine.CPU.PageSize.Or(page)
	}
	sorted := slices.Clone(segments)
	slices.SortFunc(sorted, func(a, b Segment) int {
		if a.Phys < b.Phys {
			return -1
		}
		return 1
	})
	inside := false
	for i, s := range sorted {
		switch {
		case s.Phys%page != 0 || s.MemSize%page != 0:
			return fmt.Errorf("%w: segment %#x+%#x is not aligned to pages of %d bytes", ErrInvalid, s.Phys, s.MemSize, page)
		case s.MemSize == 0 || s.Phys+s.MemSize < s.Phys:
			return fmt.Errorf("%w: segment %#x+%#x is empty or wraps", ErrInvalid, s.Phys, s.MemSize)
		case uint64(len(s.Buf)) > s.MemSize:
			return fmt.Errorf("%w: segment %#x+%#x is to hold %#x bytes", ErrInvalid, s.Phys, s.MemSize, len(s.Buf))
		case i > 0 && sorted[i-1].Phys+sorted[i-1].MemSize > s.Phys:
			return fmt.Errorf("%w: segments %#x+%#x and %#x+%#x overlap", ErrInvalid,
				sorted[i-1].Phys, sorted[i-1].MemSize, s.Phys, s.MemSize)
		}
		inside = inside || (entry >= s.Phys && entry-s.Phys < s.MemSize)
	}
	if !inside {
		return fmt.Errorf("%w: entry %#x lies in no segment", ErrInvalid, entry)
	}
	return nil
}

// Unload drops the loaded kernel, or the crash kernel. It succeeds when none
// is loaded. kexec_file_load is tried first, for a locked-down kernel refuses
// kexec_load even for that.
func (c *Client) Unload(crash bool) error {
	fileFlags, loadFlags := unix.KexecFileUnload, uint64(unix.KexecArchDefault)
	if crash {
		fileFlags |= unix.KexecFileOnCrash
		loadFlags |= unix.KexecOnCrash
	}
	first := c.kernel().FileLoad(nil, nil, "", fileFlags)
	if first == nil {
		return nil
	}
	c.debug("kexec_file_load to unload failed, trying kexec_load", "err", first)
	second := c.kernel().Load(0, nil, loadFlags)
	if second == nil {
		return nil
	}
	// Tell of the call that the kernel has.
	if errors.Is(first, unix.ENOSYS) {
		return c.explain(attempt{call: callLoad, crash: crash, unload: true}, second)
	}
	return c.explain(attempt{call: callFileLoad, crash: crash, unload: true}, first)
}

// ExecOptions change what Exec does.
type ExecOptions struct {
	// Force starts the kernel at once: nothing is stopped or unmounted, file
	// systems are only synchronised. Otherwise systemd, where it runs, goes
	// through kexec.target.
	Force bool
}

// Exec starts the loaded kernel. Where systemd runs and Force is not set, it
// returns nil when systemd has taken the job; else it does not return on
// success.
func (c *Client) Exec(ctx context.Context, o ExecOptions) error {
	// systemd would reboot through the firmware if nothing were loaded.
	if loaded, err := c.kernel().Loaded(); err == nil && !loaded {
		return fmt.Errorf("%w: load one first", ErrNotLoaded)
	}
	if !o.Force && c.Machine != nil && c.Machine.Systemd.Or(false) {
		c.debug("starting kexec.target")
		if err := c.kernel().StartTarget(ctx, "kexec.target"); err != nil {
			return fmt.Errorf("start kexec.target: %w; --force starts the kernel without systemd", err)
		}
		return nil
	}
	c.kernel().Sync()
	c.debug("reboot(LINUX_REBOOT_CMD_KEXEC)")
	err := c.kernel().Reboot()
	if err == nil {
		return nil
	}
	return c.explain(attempt{call: callReboot}, err)
}

// explain turns the error of a system call into an Error.
func (c *Client) explain(a attempt, err error) error {
	if err == nil {
		return nil
	}
	m := c.Machine
	if m == nil {
		m = &machine.Machine{}
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("%s: %w", a.call, err)
	}
	return explain(a, errno, m)
}
