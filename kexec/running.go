// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kexec

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/peelboot/peel/internal/unix"
)

// running is the kernel this program runs on.
type running struct{}

func (running) FileLoad(kernel, initrd *os.File, cmdline string, flags int) error {
	return unix.KexecFileLoad(kernel, initrd, cmdline, flags)
}

func (running) Load(entry uint64, segments []Segment, flags uint64) error {
	raw := make([]unix.KexecSegment, 0, len(segments))
	for _, s := range segments {
		raw = append(raw, unix.KexecSegment(s))
	}
	return unix.KexecLoad(entry, raw, flags)
}

func (running) Loaded() (bool, error) {
	b, err := os.ReadFile("/sys/kernel/kexec_loaded")
	if os.IsNotExist(err) {
		b, err = os.ReadFile("/sys/kernel/kexec/loaded")
	}
	return string(bytes.TrimSpace(b)) == "1", err
}

func (running) StartTarget(ctx context.Context, name string) error {
	// The same job that "systemctl kexec" asks for, without its own search
	// for a kernel to load.
	out, err := exec.CommandContext(ctx, "systemctl", "start", "--no-block",
		"--job-mode=replace-irreversibly", name).CombinedOutput()
	if err != nil {
		if line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n")); len(line) > 0 {
			return fmt.Errorf("systemctl: %w: %.200s", err, line)
		}
		return fmt.Errorf("systemctl: %w", err)
	}
	return nil
}

func (running) Sync() { unix.Sync() }

func (running) Reboot() error { return unix.Reboot(unix.RebootKexec) }
