// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peelboot/peel/image"
)

// FindStub returns the path of systemd's stub for an architecture below root,
// where distributions install it: linuxx64.efi.stub, or addonx64.efi.stub for
// addons. It fails with ErrMissing.
func FindStub(root string, arch image.Arch, addon bool) (string, error) {
	name := arch.EFIName()
	if name == "" {
		return "", fmt.Errorf("%w: stub for architecture %q", ErrMissing, arch)
	}
	kind := "linux"
	if addon {
		kind = "addon"
	}
	p := filepath.Join(root, "usr/lib/systemd/boot/efi", kind+name+".efi.stub")
	if _, err := os.Stat(p); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w: stub %s", ErrMissing, p)
		}
		return "", err
	}
	return p, nil
}

// ArchByEFIName returns the architecture that UEFI spells like that ("x64").
func ArchByEFIName(name string) (image.Arch, bool) {
	for _, a := range []image.Arch{image.ArchX86, image.ArchX86_64, image.ArchARM, image.ArchARM64, image.ArchRISCV64, image.ArchLoongArch64} {
		if a.EFIName() == name {
			return a, true
		}
	}
	return image.ArchUnknown, false
}
