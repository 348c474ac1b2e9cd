// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Machine is a running virtual machine. Close it, whatever happens.
type Machine struct {
	cmd     *exec.Cmd
	console *console
	stderr  bytes.Buffer
	dir     string
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // valid after done
	clean   sync.Once
}

// Start boots a machine. It runs until the guest powers off or resets, ctx ends, or Close is called.
func Start(ctx context.Context, c Config) (*Machine, error) {
	qemu, err := c.program()
	if err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	dir, err := os.MkdirTemp("", "peel-vm-")
	if err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	m := &Machine{dir: dir, console: newConsole(c.Console), done: make(chan struct{})}
	vars := ""
	if c.Firmware != nil && c.Firmware.Vars != "" {
		vars = filepath.Join(dir, "vars.fd")
		if err := copyFile(vars, c.Firmware.Vars); err != nil {
			m.remove()
			return nil, fmt.Errorf("vm: variable store: %w", err)
		}
	}
	args, err := c.Args(vars)
	if err == nil && c.Memory != nil {
		// QEMU reads it while it starts; closing here ends but this process's view.
		elf, ferr := c.Memory.file(c.Arch)
		if err = ferr; err == nil && elf.File() == nil {
			err = fmt.Errorf("%w: segments need sealed files, which only Linux has", ErrConfig)
		}
		if err == nil {
			defer elf.Close()
			args = append(args, "-kernel", FilePath(len(c.Files)))
			c.Files = append(slices.Clip(c.Files), elf.File())
		}
	}
	if err != nil {
		m.remove()
		return nil, fmt.Errorf("vm: %w", err)
	}
	ctx, m.cancel = context.WithCancel(ctx)
	m.cmd = exec.CommandContext(ctx, qemu, args...)
	// QEMU's temporary overlays of disks belong to this machine alone.
	m.cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	m.cmd.Stdin, m.cmd.Stdout, m.cmd.Stderr = c.Input, m.console, &m.stderr
	m.cmd.ExtraFiles = c.Files
	m.cmd.WaitDelay = 5 * time.Second
	if err := m.cmd.Start(); err != nil {
		m.cancel()
		m.remove()
		return nil, fmt.Errorf("vm: %w", err)
	}
	go m.wait(ctx)
	return m, nil
}

func (m *Machine) wait(ctx context.Context) {
	err := m.cmd.Wait()
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, exec.ErrWaitDelay):
		// Only the copying of Input was still under way: the guest is gone.
		err = nil
	case err != nil:
		err = fmt.Errorf("qemu: %w: %s", err, bytes.TrimSpace(m.stderr.Bytes()))
	}
	m.err = err
	m.console.close()
	close(m.done)
}

// Expect waits until the console shows the pattern, after whatever an earlier Expect found, and returns the text of the
// match and of its groups. Control sequences and carriage returns are left out of the text, so "(?m)^line$" works. The
// error is ErrTimeout, ErrExited or the context's, with the end of the console.
func (m *Machine) Expect(ctx context.Context, pattern *regexp.Regexp, timeout time.Duration) ([]string, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		found, more := m.console.match(pattern)
		if found != nil {
			return found, nil
		}
		if more == nil {
			<-m.done
			return nil, fmt.Errorf("vm: %w before %q: %s%s", ErrExited, pattern, m.reason(), m.console.tail())
		}
		select {
		case <-more:
		case <-timer.C:
			return nil, fmt.Errorf("vm: %w: no %q within %v; the console ends:\n%s", ErrTimeout, pattern, timeout, m.console.tail())
		case <-ctx.Done():
			return nil, fmt.Errorf("vm: waiting for %q: %w", pattern, ctx.Err())
		}
	}
}

func (m *Machine) reason() string {
	if m.err != nil {
		return m.err.Error() + "; the console ends:\n"
	}
	return "the console ends:\n"
}

// Wait waits until the machine has ended. A guest that powers off, resets or panics with a reboot ends it without an error: look at
// the console for what it achieved.
func (m *Machine) Wait() error {
	<-m.done
	if m.err != nil {
		return fmt.Errorf("vm: %w", m.err)
	}
	return nil
}

// Done is closed when the machine has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Console returns the text of the console so far, without control sequences and carriage returns; at most its last 16 MiB.
func (m *Machine) Console() string { return m.console.String() }

// Close ends the machine, if it still runs, and removes its temporary files.
func (m *Machine) Close() error {
	m.cancel()
	<-m.done
	return m.remove()
}

func (m *Machine) remove() error {
	var err error
	m.clean.Do(func() { err = os.RemoveAll(m.dir) })
	return err
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
