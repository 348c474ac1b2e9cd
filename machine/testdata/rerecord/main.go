// SPDX-License-Identifier: Apache-2.0

// Rerecord makes the recordings in machine/testdata anew, from virtual
// machines that boot Debian's kernels out of the tool cache:
//
//	go run ./machine/testdata/rerecord [NAME...]
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peelboot/peel/internal/testkit/artefact"
)

type vm struct {
	name    string
	arch    string // Debian's spelling
	kernel  string // series
	efi     bool
	secure  bool
	append  string
	extra   []string
	console string
	qemu    string
	goarch  string
}

func machines() []vm {
	x86 := vm{arch: "amd64", kernel: "6.12", console: "ttyS0", qemu: "qemu-system-x86_64", goarch: "amd64",
		extra: []string{"-M", "q35,smm=on", "-cpu", "qemu64"}}
	arm := vm{arch: "arm64", kernel: "6.12", console: "ttyAMA0", qemu: "qemu-system-aarch64", goarch: "arm64"}
	with := func(v vm, name string, edit func(*vm)) vm {
		v.name = name
		v.extra = slices.Clone(v.extra)
		edit(&v)
		return v
	}
	return []vm{
		with(x86, "x86-bios", func(v *vm) { v.append = "crashkernel=128M" }),
		with(x86, "x86-bios-user", func(v *vm) { v.append = "recorder.user" }),
		with(x86, "x86-bios-7.2", func(v *vm) { v.kernel = "new" }),
		with(x86, "x86-ovmf", func(v *vm) { v.efi = true }),
		with(x86, "x86-secureboot", func(v *vm) { v.efi, v.secure = true, true }),
		with(arm, "arm64-dtb", func(v *vm) {
			v.extra = []string{"-M", "virt,acpi=off,gic-version=3", "-cpu", "cortex-a72"}
			v.append = "crashkernel=128M"
		}),
		with(arm, "arm64-acpi", func(v *vm) {
			v.efi = true
			v.extra = []string{"-M", "virt,gic-version=3", "-cpu", "cortex-a72"}
		}),
		{name: "riscv64", arch: "riscv64", kernel: "6.12", console: "ttyS0", qemu: "qemu-system-riscv64", goarch: "riscv64",
			extra: []string{"-M", "virt"}},
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rerecord:", err)
		os.Exit(1)
	}
}

func run(names []string) error {
	c, err := artefact.Open()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "rerecord")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, v := range machines() {
		if len(names) > 0 && !slices.Contains(names, v.name) {
			continue
		}
		start := time.Now()
		b, err := v.record(c, tmp)
		if err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		if err := os.WriteFile(filepath.Join("machine", "testdata", v.name+".tar.gz"), b, 0o644); err != nil {
			return err
		}
		fmt.Printf("%-16s %6d bytes %v\n", v.name, len(b), time.Since(start).Round(time.Second))
	}
	return nil
}

func (v vm) record(c *artefact.Cache, tmp string) ([]byte, error) {
	k, err := c.Kernel(v.arch, v.kernel)
	if err != nil {
		return nil, err
	}
	init := filepath.Join(tmp, "init-"+v.goarch)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", init, "./machine/testdata/recorder")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+v.goarch)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	files := map[string]string{"init": init}
	if v.efi {
		mod, err := k.Module("efivarfs")
		if err != nil {
			return nil, err
		}
		plain := filepath.Join(tmp, "efivarfs.ko")
		b, err := os.ReadFile(mod)
		if err == nil && strings.HasSuffix(mod, ".xz") {
			b, err = exec.Command(filepath.Join(c.Bin(), "xz"), "-dc", mod).Output()
		}
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(plain, b, 0o644); err != nil {
			return nil, err
		}
		files["modules/efivarfs.ko"] = plain
	}
	initrd, err := initramfs(files)
	if err != nil {
		return nil, err
	}
	initrdPath := filepath.Join(tmp, v.name+".cpio")
	if err := os.WriteFile(initrdPath, initrd, 0o644); err != nil {
		return nil, err
	}
	kernel := k.Path
	args := append([]string{"-accel", "tcg", "-m", "1024", "-nographic", "-nodefaults", "-no-reboot", "-serial", "stdio"}, v.extra...)
	if v.efi {
		fw, err := c.Firmware(v.arch, v.secure)
		if err != nil {
			return nil, err
		}
		vars := filepath.Join(tmp, v.name+".fd")
		b, err := os.ReadFile(fw.Vars)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(vars, b, 0o644); err != nil {
			return nil, err
		}
		args = append(args, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+fw.Code,
			"-drive", "if=pflash,format=raw,unit=1,file="+vars)
		if v.secure {
			args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on")
			if kernel, err = sign(c, kernel, filepath.Join(tmp, "vmlinuz.signed")); err != nil {
				return nil, err
			}
		}
	}
	args = append(args, "-kernel", kernel, "-initrd", initrdPath,
		"-append", "console="+v.console+" quiet panic=-1 "+v.append)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(c.Bin(), v.qemu), args...).CombinedOutput()
	out = bytes.ReplaceAll(out, []byte("\r"), nil)
	_, rest, ok1 := bytes.Cut(out, []byte("-----BEGIN RECORDING-----\n"))
	text, _, ok2 := bytes.Cut(rest, []byte("-----END RECORDING-----"))
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("no recording on the console: %v\n%s", err, out)
	}
	head, _, _ := bytes.Cut(out, []byte("-----BEGIN"))
	if i := bytes.Index(head, []byte("recorder:")); i >= 0 {
		fmt.Printf("%s: %s", v.name, head[i:])
	}
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
}

func sign(c *artefact.Cache, kernel, to string) (string, error) {
	key, cert, err := c.SnakeoilKey()
	if err != nil {
		return "", err
	}
	plain := to + ".key"
	if out, err := exec.Command(filepath.Join(c.Bin(), "openssl"), "rsa", "-in", key, "-out", plain,
		"-passin", "pass:"+artefact.SnakeoilPassphrase).CombinedOutput(); err != nil {
		return "", fmt.Errorf("openssl: %w: %s", err, out)
	}
	if out, err := exec.Command(filepath.Join(c.Bin(), "sbsign"), "--key", plain, "--cert", cert,
		"--output", to, kernel).CombinedOutput(); err != nil {
		return "", fmt.Errorf("sbsign: %w: %s", err, out)
	}
	return to, nil
}

// initramfs writes a newc archive; names map to the files they are made of.
func initramfs(files map[string]string) ([]byte, error) {
	var b bytes.Buffer
	ino := 0
	entry := func(name string, mode int, data []byte) {
		ino++
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		b.Write(make([]byte, -b.Len()&3))
		b.Write(data)
		b.Write(make([]byte, -b.Len()&3))
	}
	for _, dir := range []string{"dev", "modules", "proc", "run", "sys"} {
		entry(dir, 0o040755, nil)
	}
	for name, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		entry(name, 0o100755, data)
	}
	entry("TRAILER!!!", 0, nil)
	return b.Bytes(), nil
}
