// SPDX-License-Identifier: Apache-2.0

// Recorder is the init of a virtual machine: it mounts what a system mounts,
// records the machine and writes the recording to the console as base64.
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/machine/machinetest"
)

func main() {
	if os.Getuid() != 0 {
		if err := record(); err != nil {
			fmt.Println("recorder:", err)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Println("recorder:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	for {
		time.Sleep(time.Hour)
	}
}

func run() error {
	for _, m := range []struct{ fs, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"},
		{"securityfs", "/sys/kernel/security"},
	} {
		_ = os.MkdirAll(m.dir, 0o755)
		if err := unix.Mount(m.fs, m.dir, m.fs, 0, ""); err != nil && m.fs != "devtmpfs" {
			fmt.Printf("recorder: mount %s: %v\n", m.dir, err)
		}
	}
	mods, _ := filepath.Glob("/modules/*.ko")
	for _, m := range mods {
		f, err := os.Open(m)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			fmt.Printf("recorder: %s: %v\n", m, err)
		}
		f.Close()
	}
	if _, err := os.Stat("/sys/firmware/efi/efivars"); err == nil {
		if err := unix.Mount("efivarfs", "/sys/firmware/efi/efivars", "efivarfs", 0, ""); err != nil {
			fmt.Printf("recorder: mount efivarfs: %v\n", err)
		}
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	// The kernel keeps messages out of the recording.
	_, _, _ = unix.Syscall(unix.SYS_SYSLOG, 6, 0, 0)
	if strings.Contains(string(cmdline), "recorder.user") {
		// A new program: after setuid alone, /proc/self belongs to root.
		c := exec.Command("/init")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		return c.Run()
	}
	return record()
}

func record() error {
	m, err := machine.Read("/")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := machinetest.Pack(&out, m.Recording()); err != nil {
		return err
	}
	text := base64.StdEncoding.EncodeToString(out.Bytes())
	fmt.Println("\n-----BEGIN RECORDING-----")
	for len(text) > 0 {
		n := min(len(text), 76)
		fmt.Println(text[:n])
		text = text[n:]
	}
	fmt.Println("-----END RECORDING-----")
	return nil
}
