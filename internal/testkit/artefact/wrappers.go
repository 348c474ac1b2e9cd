// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// program is a program of a unit that gets a wrapper.
type program struct {
	unit string
	name string // of the wrapper, and argv[0]
	path string // below the unit, a glob; empty is usr/bin/NAME, else usr/sbin/NAME
	args []string
	env  []string // NAME=VALUE; @ stands for the unit's directory
	// reenters is set for clang, which starts itself by its own path with -cc1 as first argument.
	reenters bool
}

// programs lists the wrappers.
func programs() []program {
	var out []program
	add := func(unit, names string) {
		for _, n := range strings.Fields(names) {
			out = append(out, program{unit: unit, name: n})
		}
	}
	for _, n := range strings.Fields("qemu-system-x86_64 qemu-system-aarch64 qemu-system-arm qemu-system-riscv64") {
		out = append(out, qemu(unitTools, n))
	}
	out = append(out, qemu(unitToolsLong, "qemu-system-loongarch64"))
	clang := []string{"-no-canonical-prefixes", "--sysroot=@", "-resource-dir=@/usr/lib/llvm-LLVM/lib/clang/LLVM",
		// <asm/types.h> for -target bpf, which has no multiarch directory of its own.
		"-idirafter", "@/usr/include/MULTIARCH"}
	out = append(out,
		program{unit: unitTools, name: "clang", reenters: true, args: clang},
		// A C compiler for `go test -race` on a machine without one: what it links runs with the libraries of the cache.
		program{unit: unitTools, name: "cc", path: "usr/bin/clang", reenters: true, args: append(clang,
			"-Wno-unused-command-line-argument", "-Wl,--dynamic-linker,LOADER", "-Wl,-rpath,@/usr/lib/MULTIARCH")},
	)
	add(unitTools, `llvm-strip llvm-objcopy llvm-objdump llvm-readelf llvm-mc llvm-nm llvm-dwarfdump bpftool
		ukify sbsign sbverify sbattach sbvarsign sbsiglist sbkeysync pesign pesigcheck efikeygen osslsigncode evmctl openssl
		certutil pk12util cert-to-efi-sig-list cert-to-efi-hash-list sign-efi-sig-list sig-list-to-certs hash-to-efi-sig-list
		efi-updatevar efi-readvar virt-fw-vars virt-fw-dump virt-fw-sigdb
		pe-inspect pe-listsigs pe-addsigs swtpm swtpm_setup swtpm_cert swtpm_ioctl
		kexec makedumpfile vmcore-dmesg
		objcopy objdump readelf nm strip strings size as ld ar
		dtc fdtoverlay fdtget fdtput fdtdump
		mcopy mdir mformat mmd mtype mdel mattrib minfo mkfs.vfat fsck.vfat
		lzop lz4 unlz4 zstd unzstd xz unxz bzip2 bunzip2 gzip cpio file shellcheck`)
	add(unitCompile, "ld.lld make flex m4 bc")
	for _, p := range []string{"aarch64-linux-gnu", "riscv64-linux-gnu"} {
		add(unitTools, strings.ReplaceAll("P-objcopy P-objdump P-readelf P-as P-ld P-nm P-strip", "P", p))
	}
	out = append(out,
		program{unit: "ukify-new", name: "ukify-new", path: "usr/bin/ukify"},
		program{unit: unitTools, name: "systemd-measure", path: "usr/lib/systemd/systemd-measure"},
		program{unit: unitTools, name: "systemd-pcrlock", path: "usr/lib/systemd/systemd-pcrlock"},
		program{unit: unitTools, name: "systemd-sbsign", path: "usr/lib/systemd/systemd-sbsign"},
		program{unit: "kbuild", name: "sign-file", path: "usr/lib/linux-kbuild-*/scripts/sign-file"},
		program{unit: unitCompile, name: "bison", path: "usr/bin/bison",
			env: []string{"BISON_PKGDATADIR=@/usr/share/bison", "M4=BIN/m4"}},
		program{unit: unitTools, name: "lzma", path: "usr/bin/xz"}, // xz goes by the name it is called by
		program{unit: unitTools, name: "unlzma", path: "usr/bin/xz"},
		program{unit: unitTokens, name: "tpm2", path: "usr/bin/tpm2"},
		// The openssl that can load the provider for TPMs, which lies in this unit.
		program{unit: unitTokens, name: "openssl-tpm2", path: "usr/bin/openssl"},
		program{unit: unitTokens, name: "softhsm2-util"},
		program{unit: unitTokens, name: "pkcs11-tool"},
		program{unit: "kbuild", name: "extract-cert", path: "usr/lib/linux-kbuild-*/certs/extract-cert"},
	)
	return out
}

func qemu(unit, name string) program {
	return program{unit: unit, name: name,
		args: []string{"-L", "@/usr/share/qemu", "-L", "@/usr/share/seabios", "-L", "@/usr/lib/ipxe/qemu"},
		env:  []string{"QEMU_MODULE_DIR=@/usr/lib/MULTIARCH/qemu"},
	}
}

// multiarch is the directory name of this machine's libraries.
func multiarch() string {
	switch hostArch() {
	case "arm64":
		return "aarch64-linux-gnu"
	case "riscv64":
		return "riscv64-linux-gnu"
	case "loong64":
		return "loongarch64-linux-gnu"
	}
	return "x86_64-linux-gnu"
}

// wrapperStamp tells from which units and which list the wrappers were made.
func wrapperStamp(c *Cache) string {
	var b strings.Builder
	for _, u := range Units() {
		if c.Have(u.Name) {
			fmt.Fprint(&b, u.Name, " ", u.fingerprint())
		}
	}
	fmt.Fprintf(&b, "%s %d\n%+v\n", c.Dir, wrapperVersion, programs())
	return b.String()
}

// wrapperVersion changes when the text of wrappers changes.
const wrapperVersion = 6

func wrappersCurrent(c *Cache) bool {
	b, err := os.ReadFile(filepath.Join(c.Bin(), ".stamp"))
	return err == nil && string(b) == wrapperStamp(c)
}

// writeWrappers makes bin/ anew and puts it in place of the old one, one file at a time: tests may be running.
func writeWrappers(c *Cache) error {
	if wrappersCurrent(c) {
		return nil
	}
	if err := os.MkdirAll(c.Bin(), 0o755); err != nil {
		return err
	}
	made := map[string]bool{".stamp": true}
	var errs []error
	for _, p := range programs() {
		if !c.Have(p.unit) || made[p.name] {
			continue
		}
		text, err := wrapper(c, p)
		if err != nil {
			errs = append(errs, fmt.Errorf("tool %s: %w", p.name, err))
			continue
		}
		if err := replace(filepath.Join(c.Bin(), p.name), text, 0o755); err != nil {
			return err
		}
		made[p.name] = true
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	old, err := os.ReadDir(c.Bin())
	if err != nil {
		return err
	}
	for _, e := range old {
		if !made[e.Name()] {
			if err := os.Remove(filepath.Join(c.Bin(), e.Name())); err != nil {
				return err
			}
		}
	}
	return replace(filepath.Join(c.Bin(), ".stamp"), wrapperStamp(c), 0o644)
}

func replace(path, text string, mode fs.FileMode) error {
	if err := os.WriteFile(path+".new", []byte(text), mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// find returns the program's file below its unit.
func (p program) find(c *Cache) (string, error) {
	if p.path != "" {
		return c.Glob(p.unit, p.path)
	}
	for _, d := range []string{"usr/bin", "usr/sbin"} {
		if f, err := resolve(c.unit(p.unit), filepath.Join(d, p.name)); err == nil {
			return f, nil
		}
	}
	return "", fmt.Errorf("%s: neither in usr/bin nor usr/sbin: %w", p.name, ErrMissing)
}

// wrapper is the shell script that runs a program with the dynamic linker, libraries and data of the cache.
func wrapper(c *Cache, p program) (string, error) {
	file, err := p.find(c)
	if err != nil {
		return "", err
	}
	root := c.unit(p.unit)
	libs := c.unit(unitTools)
	if p.unit == unitToolsLong || p.unit == unitTokens || p.unit == unitCompile {
		libs = root
	}
	ld, err := loader(libs)
	if err != nil {
		return "", err
	}
	expand := strings.NewReplacer("@", root, "BIN", c.Bin(), "MULTIARCH", multiarch(), "LOADER", ld, "LLVM", llvmVersion(root))
	argv0 := p.name
	if p.reenters {
		argv0 = filepath.Join(c.Bin(), p.name)
	}
	run := []string{ld, "--inhibit-cache", "--argv0", argv0, "--library-path", libraryPath(libs)}
	env := []string{
		"OPENSSL_CONF=" + libs + "/etc/ssl/openssl.cnf",
		"OPENSSL_MODULES=" + filepath.Join(libs, "usr/lib", multiarch(), "ossl-modules"),
		"OPENSSL_ENGINES=" + filepath.Join(libs, "usr/lib", multiarch(), "engines-3"),
		"GCONV_PATH=" + filepath.Join(libs, "usr/lib", multiarch(), "gconv"),
		"MAGIC=" + libs + "/usr/lib/file/magic.mgc",
	}
	for _, e := range p.env {
		env = append(env, expand.Replace(e))
	}
	interp, dynamic, err := kindOf(file)
	if err != nil {
		return "", err
	}
	switch {
	case strings.Contains(interp, "python"):
		py, err := resolve(libs, "usr/bin/python3")
		if err != nil {
			return "", err
		}
		env = append(env, "PYTHONHOME="+libs+"/usr", "PYTHONDONTWRITEBYTECODE=1", "PYTHONNOUSERSITE=1",
			"PYTHONPATH="+libs+"/usr/lib/python3/dist-packages")
		run = append(run, py, file)
	case interp != "":
		run = append(strings.Fields(interp), file)
	case dynamic:
		run = append(run, file)
	default:
		run = []string{file}
	}
	args := ""
	for _, a := range p.args {
		args += " " + quote(expand.Replace(a))
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Made by peel's internal/cmd/deps: " + p.name + " of Debian, run from the tool cache.\n")
	// A value of the caller's wins: a test may bring its own OPENSSL_CONF.
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		if strings.HasPrefix(k, "PYTHON") {
			fmt.Fprintf(&b, "export %s=%s\n", k, quote(v))
			continue
		}
		fmt.Fprintf(&b, "[ -n \"${%s+set}\" ] || export %s=%s\n", k, k, quote(v))
	}
	// Programs that call others (ukify calls systemd-measure, swtpm_setup calls swtpm) find these here.
	fmt.Fprintf(&b, "PATH=%s:$PATH\nexport PATH\n", quote(c.Bin()))
	if p.reenters {
		fmt.Fprintf(&b, "[ \"$1\" = -cc1 ] || [ \"$1\" = -cc1as ] || set --%s \"$@\"\n", args)
		args = ""
	}
	b.WriteString("exec")
	for _, a := range run {
		b.WriteString(" " + quote(a))
	}
	b.WriteString(args + " \"$@\"\n")
	return b.String(), nil
}

// llvmVersion is the major version of the one LLVM in a unit.
func llvmVersion(root string) string {
	m, err := filepath.Glob(filepath.Join(root, "usr/lib/llvm-*"))
	if err != nil || len(m) == 0 {
		return ""
	}
	_, v, _ := strings.Cut(filepath.Base(m[0]), "-")
	return v
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// loader finds the dynamic linker of a unit.
func loader(root string) (string, error) {
	for _, p := range []string{"usr/lib64/ld-linux-x86-64.so.2", "usr/lib/ld-linux-aarch64.so.1",
		"usr/lib/ld-linux-riscv64-lp64d.so.1", "usr/lib64/ld-linux-loongarch-lp64d.so.1"} {
		if f, err := resolve(root, p); err == nil {
			return f, nil
		}
	}
	return "", fmt.Errorf("dynamic linker in %s: %w", root, ErrMissing)
}

// libraryPath lists the directories of a unit in which programs look for libraries.
func libraryPath(root string) string {
	m := filepath.Join(root, "usr/lib", multiarch())
	dirs := []string{m, filepath.Join(root, "usr/lib")}
	for _, sub := range []string{"nss", "systemd", "swtpm", "pulseaudio", "blas", "lapack"} {
		dirs = append(dirs, filepath.Join(m, sub))
	}
	if l, err := filepath.Glob(filepath.Join(root, "usr/lib/llvm-*/lib")); err == nil {
		dirs = append(dirs, l...)
	}
	return strings.Join(slices.DeleteFunc(dirs, func(d string) bool {
		_, err := os.Stat(d)
		return err != nil
	}), ":")
}

// kindOf returns the interpreter line of a script, or whether an ELF file is dynamically linked.
func kindOf(file string) (interp string, dynamic bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	head, err := bufio.NewReader(io.LimitReader(f, 256)).ReadBytes('\n')
	if err != nil && err != io.EOF {
		return "", false, err
	}
	if rest, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		return string(bytes.TrimSpace(rest)), false, nil
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", file, err)
	}
	return "", slices.ContainsFunc(e.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), nil
}
