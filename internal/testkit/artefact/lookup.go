// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// KernelImage is a kernel of a Debian package.
type KernelImage struct {
	Path    string // vmlinuz, as packaged
	Release string // uname -r
	Modules string // directory with kernel/...; only a few modules are kept. Empty where the package has none.
	unit    string
}

// Kernel returns Debian's kernel for an architecture in Debian's spelling. Series is "6.12", "6.1", "5.10", or "new" for
// the one of Debian testing. amd64 kernels of 6.12 also exist as "6.12-unsigned": the same release without a signature.
// "generic-6.12" is the arm64 kernel for real machines; the others are the cloud flavour where there is one.
func (c *Cache) Kernel(arch, series string) (KernelImage, error) {
	unit := "kernel-" + arch + "-" + series
	var err error
	for _, pattern := range []string{"boot/vmlinu[xz]-*", "usr/lib/modules/*/vmlinuz"} {
		var p string
		if p, err = c.Glob(unit, pattern); err != nil {
			continue
		}
		k := KernelImage{Path: p, unit: unit}
		if dir := filepath.Dir(p); filepath.Base(dir) != "boot" {
			k.Release = filepath.Base(dir)
		} else {
			_, k.Release, _ = strings.Cut(filepath.Base(p), "-")
		}
		mods := filepath.Join(c.unit(unit), "usr/lib/modules", k.Release)
		if _, err := os.Stat(filepath.Join(mods, "kernel")); err == nil {
			k.Modules = mods
		}
		return k, nil
	}
	return KernelImage{}, fmt.Errorf("kernel %s/%s: %w", arch, series, err)
}

// Config returns the path of the kernel's .config, where the package has one.
func (k KernelImage) Config(c *Cache) (string, error) {
	return c.Glob(k.unit, "boot/config-*")
}

// Module returns the file of a module by its name, such as "efivarfs"; its name tells whether it is compressed (.ko.xz).
func (k KernelImage) Module(name string) (string, error) {
	var found string
	err := filepath.WalkDir(k.Modules, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base, _, _ := strings.Cut(filepath.Base(p), ".")
		if !d.IsDir() && base == name && strings.Contains(p, ".ko") {
			found = p
			return filepath.SkipAll
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if found == "" {
		return "", fmt.Errorf("module %s of %s: %w", name, k.Release, ErrMissing)
	}
	return found, nil
}

// efiArch is the name of an architecture in EFI file names.
func efiArch(arch string) string {
	switch arch {
	case "amd64":
		return "x64"
	case "arm64":
		return "aa64"
	case "loong64":
		return "loongarch64"
	}
	return arch
}

// Stub returns systemd's linuxARCH.efi.stub of a suite: bookworm (252), trixie (257) or forky (260 and later).
func (c *Cache) Stub(arch, suite string) (string, error) {
	return c.Glob("systemd-efi-"+suite+"-"+arch, "usr/lib/systemd/boot/efi/linux"+efiArch(arch)+".efi.stub")
}

// AddonStub returns systemd's addonARCH.efi.stub of a suite; bookworm has none.
func (c *Cache) AddonStub(arch, suite string) (string, error) {
	return c.Glob("systemd-efi-"+suite+"-"+arch, "usr/lib/systemd/boot/efi/addon"+efiArch(arch)+".efi.stub")
}

// Stubble returns Ubuntu's stub as Debian packages it, with its .sbat and the hardware ids of machines it has trees for.
func (c *Cache) Stubble() (stub, sbat, hwids string, err error) {
	for pattern, p := range map[string]*string{"usr/lib/stubble/stubble.efi": &stub, "usr/share/stubble/sbat": &sbat, "usr/share/stubble/hwids": &hwids} {
		if *p, err = c.Glob("stubble", pattern); err != nil {
			return "", "", "", err
		}
	}
	return stub, sbat, hwids, nil
}

// SystemdBoot returns systemd-boot of a suite.
func (c *Cache) SystemdBoot(arch, suite string) (string, error) {
	return c.Glob("systemd-efi-"+suite+"-"+arch, "usr/lib/systemd/boot/efi/systemd-boot"+efiArch(arch)+".efi")
}

// Shim returns Microsoft-signed shimx64.efi, which carries two signatures.
func (c *Cache) Shim() (string, error) {
	return c.Glob("shim-signed", "usr/lib/shim/shimx64.efi.signed")
}

// UnsignedShim returns a file of package shim-unsigned: shimx64.efi, mmx64.efi or fbx64.efi.
func (c *Cache) UnsignedShim(name string) (string, error) {
	return c.Glob("shim-unsigned", "usr/lib/shim/"+name)
}

// DebianCA returns the certificate (DER) of Debian's Secure Boot CA, under which Debian's kernels are signed.
func (c *Cache) DebianCA() (string, error) {
	return c.Glob("shim-unsigned", "usr/share/shim/debian-uefi-ca.der")
}

// Firmware files of the ovmf and qemu-efi-* packages.
type Firmware struct {
	Code string // flash image, read-only
	Vars string // template of the variable store; a VM gets a copy
}

// Firmware returns UEFI firmware for a Debian architecture. With secureBoot, the variable store has the "snakeoil" keys
// of SnakeoilKey enrolled and Secure Boot on.
func (c *Cache) Firmware(arch string, secureBoot bool) (Firmware, error) {
	var unit, code, vars string
	switch arch {
	case "amd64":
		unit, code, vars = unitTools, "usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"
		if secureBoot {
			code, vars = "usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"
		}
	case "arm64":
		unit, code, vars = unitTools, "usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "usr/share/AAVMF/AAVMF_VARS.fd"
		if secureBoot {
			code, vars = "usr/share/AAVMF/AAVMF_CODE.secboot.fd", "usr/share/AAVMF/AAVMF_VARS.snakeoil.fd"
		}
	case "riscv64":
		unit, code, vars = "qemu-efi-riscv64", "usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd"
	case "loong64":
		unit, code, vars = "qemu-efi-loongarch64", "usr/share/qemu-efi-loongarch64/QEMU_EFI.fd", "usr/share/qemu-efi-loongarch64/QEMU_VARS.fd"
	default:
		return Firmware{}, fmt.Errorf("firmware for %q: %w", arch, ErrMissing)
	}
	cp, err := c.Glob(unit, code)
	if err != nil {
		return Firmware{}, fmt.Errorf("firmware for %s: %w", arch, err)
	}
	vp, err := c.Glob(unit, vars)
	if err != nil {
		return Firmware{}, fmt.Errorf("firmware for %s: %w", arch, err)
	}
	return Firmware{Code: cp, Vars: vp}, nil
}

// SnakeoilPassphrase opens the key that SnakeoilKey names.
const SnakeoilPassphrase = "snakeoil"

// SnakeoilKey returns the key (PEM, encrypted with SnakeoilPassphrase) and certificate (PEM) that the Secure Boot variable
// stores of Firmware trust in PK, KEK and db.
func (c *Cache) SnakeoilKey() (key, cert string, err error) {
	if key, err = c.Glob(unitTools, "usr/share/ovmf/PkKek-1-snakeoil.key"); err != nil {
		return "", "", err
	}
	cert, err = c.Glob(unitTools, "usr/share/ovmf/PkKek-1-snakeoil.pem")
	return key, cert, err
}

// SoftHSM returns the PKCS #11 module of SoftHSM.
func (c *Cache) SoftHSM() (string, error) {
	return c.Glob(unitTokens, "usr/lib/*/softhsm/libsofthsm2.so")
}

// Root returns the root directory of a unit whose programs run inside a guest ("kexec-tools-arm64"), or of the tools ("tools").
func (c *Cache) Root(unit string) (string, error) {
	if !c.Have(unit) {
		return "", fmt.Errorf("unit %s: %w", unit, ErrMissing)
	}
	return c.unit(unit), nil
}

// Resolve returns the file behind a path below a root, following symbolic links as if the root were "/".
func Resolve(root, path string) (string, error) { return resolve(root, path) }
