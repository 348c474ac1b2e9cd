// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command guestinit is /init of the virtual machines that tests boot: it mounts what a system has, reports how it was
// booted, runs the script in its initramfs and powers the machine off. See package guest.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/peelboot/peel/internal/testkit/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guestinit: to be run as the first process of a virtual machine")
		os.Exit(2)
	}
	if err := run(); err != nil {
		say(guest.Message{Error: err.Error()})
	}
	powerOff()
}

// say prints a message on a line of its own in one write, so that nothing comes between.
func say(m guest.Message) { os.Stdout.WriteString("\n" + m.Format() + "\n") }

func run() error {
	mountErr := mountAll()
	// Kernel messages must not tear the lines apart.
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("1 1 1 1"), 0); err != nil {
		mountErr = errors.Join(mountErr, err)
	}
	if mountErr != nil {
		return mountErr
	}
	b, err := os.ReadFile(guest.ScriptPath)
	if err != nil {
		return err
	}
	var s guest.Script
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%s: %w", guest.ScriptPath, err)
	}
	for _, m := range s.Modules {
		if err := loadModule(m); err != nil {
			return fmt.Errorf("module %s: %w", m, err)
		}
	}
	if _, err := os.Stat("/sys/firmware/efi/efivars"); err == nil {
		// Without the module there is no such file system; the facts of the boot tell.
		_ = mount("efivarfs", "/sys/firmware/efi/efivars")
	}
	boot, err := facts()
	if err != nil {
		return err
	}
	boot.Name = s.Name
	say(guest.Message{Boot: boot})
	for _, step := range s.Steps {
		r := do(s.Name, step, s.Show)
		say(guest.Message{Result: &r})
	}
	say(guest.Message{Done: s.Name})
	if s.Panic {
		return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	}
	return nil
}

// facts reads how this kernel was booted.
func facts() (*guest.Boot, error) {
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	b := &guest.Boot{Cmdline: strings.TrimSuffix(string(cmdline), "\n")}
	if b.Release, b.Machine, err = uname(); err != nil {
		return nil, err
	}
	if f := strings.Fields(string(meminfo)); len(f) > 1 {
		if b.MemTotalKB, err = strconv.ParseUint(f[1], 10, 64); err != nil {
			return nil, fmt.Errorf("/proc/meminfo: %w", err)
		}
	}
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		b.EFI = true
		// Four bytes of attributes come before the value (Documentation/filesystems/efivarfs.rst).
		v, err := os.ReadFile("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
		if err == nil && len(v) == 5 {
			b.SecureBoot = map[byte]string{0: "off", 1: "on"}[v[4]]
		}
	}
	if l, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil {
		if _, rest, ok := strings.Cut(string(l), "["); ok {
			b.Lockdown, _, _ = strings.Cut(rest, "]")
		}
	}
	return b, nil
}

func do(script string, s guest.Step, show bool) guest.Result {
	r := guest.Result{Step: s.Name}
	if show && s.Argv[0] != "@say" {
		fmt.Println("\n\x1b[1m" + script + " kernel# " + strings.Join(s.Argv, " ") + "\x1b[0m")
	}
	var stdout, stderr bytes.Buffer
	var outs, errs io.Writer = &stdout, &stderr
	if show {
		outs, errs = io.MultiWriter(&stdout, os.Stdout), io.MultiWriter(&stderr, os.Stdout)
	}
	if strings.HasPrefix(s.Argv[0], "@") {
		if err := builtin(outs, s.Argv); err != nil {
			r.Status = 1
			fmt.Fprintln(errs, err)
		}
	} else {
		cmd := exec.Command(s.Argv[0], s.Argv[1:]...)
		cmd.Env = append([]string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root", "TMPDIR=/tmp"}, s.Env...)
		cmd.Stdout, cmd.Stderr = outs, errs
		asUser(cmd, s.UID)
		if s.File != "" {
			f, err := os.Open(s.File)
			if err != nil {
				return guest.Result{Step: s.Name, Status: -1, Stderr: err.Error()}
			}
			defer f.Close()
			cmd.Stdin = f
		}
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case err == nil:
		case errors.As(err, &exit):
			r.Status = exitStatus(exit)
		default:
			r.Status = -1
			fmt.Fprintln(errs, err)
		}
	}
	r.Stdout, r.Stderr = stdout.String(), stderr.String()
	return r
}

func builtin(w io.Writer, argv []string) error {
	args := argv[1:]
	want := map[string]int{"@cat": 1, "@ls": 1, "@write": 2, "@copy": 2, "@chmod": 2, "@mount": 2, "@say": 1}[argv[0]]
	if argv[0] != "@sha256" && len(args) != want {
		return fmt.Errorf("%s: %d arguments", argv[0], len(args))
	}
	switch argv[0] {
	case "@cat":
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	case "@ls":
		return filepath.WalkDir(args[0], func(p string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			if err == nil && !d.IsDir() {
				fmt.Fprintln(w, strings.TrimPrefix(p, args[0]+"/"), fi.Size())
			}
			return err
		})
	case "@sha256":
		for _, p := range args {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(b), p)
		}
		return nil
	case "@write":
		return os.WriteFile(args[0], []byte(args[1]), 0o644)
	case "@copy":
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		if err := mutable(args[1]); err != nil {
			return err
		}
		return os.WriteFile(args[1], b, 0o644)
	case "@chmod":
		mode, err := strconv.ParseUint(args[0], 8, 12)
		if err != nil {
			return err
		}
		return os.Chmod(args[1], os.FileMode(mode))
	case "@mount":
		return mount(args[0], args[1])
	case "@say":
		_, err := fmt.Fprintln(w, args[0])
		return err
	}
	return fmt.Errorf("%s: unknown command of guestinit", argv[0])
}
