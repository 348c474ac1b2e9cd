// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"bytes"
	"context"
	_ "embed" // the configuration
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// tinyConfig configures the one kernel that is compiled: Debian's for arm64 have no kexec_file_load and are no zboot images.
//
//go:embed tiny-arm64.config
var tinyConfig string

// TinyKernel is a kernel compiled from Debian's source for the arm64 virt machine of QEMU, with kexec_file_load and without
// kexec_load. It trusts the certificate of SnakeoilKey.
type TinyKernel struct {
	Image  string            // arm64 Image
	Zboot  map[string]string // the same kernel as the kernel's own build packs it, by method: "gzip", "zstd"
	Config string            // .config
}

// TinyKernel returns the kernel of the set Long.
func (c *Cache) TinyKernel() (TinyKernel, error) {
	k := TinyKernel{Zboot: map[string]string{}}
	var err error
	for name, p := range map[string]*string{"Image": &k.Image, "config": &k.Config} {
		if *p, err = c.Glob(unitTiny, "boot/"+name); err != nil {
			return TinyKernel{}, err
		}
	}
	for _, m := range tinyMethods() {
		if k.Zboot[m], err = c.Glob(unitTiny, "boot/vmlinuz-"+m+".efi"); err != nil {
			return TinyKernel{}, err
		}
	}
	return k, nil
}

// tinyMethods are the compression methods that a zboot image of Linux 6.12 can have.
func tinyMethods() []string { return []string{"gzip", "zstd"} }

// compile makes a unit from the kernel's source with the compiler of the cache: some five minutes of processor time.
func (in *installer) compile(ctx context.Context, u Unit) error {
	c := in.cache
	// The build runs the cache's programs; and with the wrappers in place, others need not wait for it.
	if err := writeWrappers(c); err != nil {
		return err
	}
	archive, err := c.Glob(unitSource, "usr/src/linux-source-*.tar.xz")
	if err != nil {
		return err
	}
	_, cert, err := c.SnakeoilKey()
	if err != nil {
		return err
	}
	tmp := c.unit(u.Name) + ".new"
	work := filepath.Join(c.Dir, "build")
	src, obj := filepath.Join(work, "src"), filepath.Join(work, "obj")
	if err := errors.Join(os.RemoveAll(tmp), os.RemoveAll(work)); err != nil {
		return err
	}
	for _, d := range []string{filepath.Join(tmp, "boot"), src, obj} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	in.log.Info("compile", "unit", u.Name, "source", filepath.Base(archive))
	if err := in.command(ctx, work, "tar", "-xJf", archive, "-C", src, "--strip-components=1"); err != nil {
		return err
	}
	for _, method := range tinyMethods() {
		text := strings.ReplaceAll(u.Build, "@SNAKEOIL@", cert) + "CONFIG_KERNEL_" + strings.ToUpper(method) + "=y\n"
		lines := filepath.Join(work, "config")
		if err := os.WriteFile(lines, []byte(text), 0o644); err != nil {
			return err
		}
		for _, target := range []string{"allnoconfig", "vmlinuz.efi"} {
			if err := in.make(ctx, src, obj, lines, target); err != nil {
				return err
			}
		}
		boot := filepath.Join(obj, "arch/arm64/boot")
		err := errors.Join(
			checkConfig(text, filepath.Join(obj, ".config")),
			copyFile(filepath.Join(tmp, "boot/vmlinuz-"+method+".efi"), filepath.Join(boot, "vmlinuz.efi")),
			copyFile(filepath.Join(tmp, "boot/Image"), filepath.Join(boot, "Image")),
			copyFile(filepath.Join(tmp, "boot/config"), filepath.Join(obj, ".config")))
		if err != nil {
			return err
		}
	}
	return errors.Join(in.finish(u, tmp), os.RemoveAll(work))
}

// make runs one target of the kernel's build. Its date and place are fixed, so that the kernel depends on its source alone.
func (in *installer) make(ctx context.Context, src, obj, config, target string) error {
	c := in.cache
	tool := func(name string) string { return filepath.Join(c.Bin(), name) }
	inc := filepath.Join(c.unit(unitCompile), "usr/include")
	lib := filepath.Join(c.unit(unitCompile), "usr/lib", multiarch())
	return in.command(ctx, src, "nice", tool("make"), "-j"+strconv.Itoa(runtime.NumCPU()), "-s", "O="+obj, "ARCH=arm64", "LLVM=1",
		"MAKE="+tool("make"), "HOSTCC="+tool("cc"), "HOSTPKG_CONFIG=true",
		"HOSTCFLAGS=-I"+inc+" -I"+filepath.Join(inc, multiarch()), "HOSTLDFLAGS=-L"+lib+" -lcrypto",
		"KCONFIG_ALLCONFIG="+config, "KBUILD_BUILD_USER=peel", "KBUILD_BUILD_HOST=peel", "KBUILD_BUILD_VERSION=1",
		"KBUILD_BUILD_TIMESTAMP=2025-01-01", target)
}

// command runs a program; what it says is shown only when it fails.
func (in *installer) command(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+in.cache.Bin()+":"+os.Getenv("PATH"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		b := said.Bytes()
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, b[max(0, len(b)-4000):])
	}
	return nil
}

// checkConfig reports the wanted lines that a configuration has lost: Kconfig drops silently what depends on something else.
func checkConfig(wanted, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for l := range strings.Lines(string(b)) {
		have[strings.TrimSpace(l)] = true
	}
	var lost []error
	for l := range strings.Lines(wanted) {
		l = strings.TrimSpace(l)
		name, value, ok := strings.Cut(l, "=")
		if !ok || strings.HasPrefix(l, "#") || have[l] || value == "n" && !have[name+"=y"] {
			continue
		}
		lost = append(lost, fmt.Errorf("the kernel's configuration has no %s", l))
	}
	return errors.Join(lost...)
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
