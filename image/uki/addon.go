// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/peelboot/peel/image/pe"
)

// ErrAddon means that an addon is not made for an image.
var ErrAddon = errors.New("addon does not fit the image")

// Profile returns the number of the profile with that decimal number or ID;
// the empty text is the default one. It fails with ErrProfile.
func (img *Image) Profile(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		return int(n), nil
	}
	return img.ProfileByID(name)
}

// CheckAddon says whether the stub of f, started with a profile, would take
// the addon b: an EFI application of the same machine type without a kernel,
// and of the same .uname where both have one. It fails with ErrAddon.
func CheckAddon(f *pe.File, profile string, b []byte) error {
	a, err := pe.Parse(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddon, err)
	}
	switch {
	case a.Machine != f.Machine:
		return fmt.Errorf("%w: it is for machine type 0x%04x, the image for 0x%04x", ErrAddon, a.Machine, f.Machine)
	case IsUKI(a):
		return fmt.Errorf("%w: it has a kernel", ErrAddon)
	case !IsAddon(a):
		return fmt.Errorf("%w: it has none of .cmdline, .initrd, .ucode, .dtb, .dtbauto", ErrAddon)
	}
	add, err := Read(a)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddon, err)
	}
	if len(add.Profiles) > 0 {
		return fmt.Errorf("%w: it has profiles", ErrAddon)
	}
	img, err := Read(f)
	if err != nil {
		return err
	}
	n, err := img.Profile(profile)
	if err != nil {
		return err
	}
	sel, err := img.Select(n)
	if err != nil {
		return err
	}
	mine, ok := sel.Find(Uname)
	theirs := named(add.Base.Sections, Uname)
	if ok && len(theirs) > 0 && string(untilNUL(mine.Data)) != string(untilNUL(theirs[0].Data)) {
		return fmt.Errorf("%w: it is for kernel %.64q, the image has %.64q", ErrAddon, Text(theirs[0].Data), Text(mine.Data))
	}
	return nil
}
