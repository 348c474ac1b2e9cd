// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"errors"
	"fmt"

	"github.com/peelboot/peel/image"
)

// Errors of this package. Each is wrapped with what was found; errors of the
// packages below pass through.
var (
	// ErrNotImage means that the bytes are no boot image of any kind, so
	// that there is nothing a signature could be asked for.
	ErrNotImage = errors.New("not a boot image")
	// ErrBroken means that an image contradicts its own format.
	ErrBroken = errors.New("broken image")
	// ErrNoVolume means that an image names files on its volume, and it is
	// not known where that is mounted.
	ErrNoVolume = errors.New("the volume that the image lies on is not known")
	// ErrRoute means that the route chosen has no way to do what was asked.
	ErrRoute = errors.New("not possible on this route")
	// ErrArch means that the kernel is for another architecture.
	ErrArch = errors.New("kernel is for another architecture")
	// ErrPreview means that a plan was made for looking at only.
	ErrPreview = errors.New("plan is a preview and must not be loaded")
)

// Check tells whether the image is one that has a kernel in it, by its headers
// alone. It fails with ErrNotImage or ErrBroken: what no policy needs to
// judge.
func (im *Image) Check() error {
	n := len(im.mem.Bytes())
	switch {
	case im.info.Err != nil:
		return fmt.Errorf("%s: %w: %w", im.name, ErrBroken, im.info.Err)
	case im.info.Kind == image.KindUnknown:
		return fmt.Errorf("%s: %w: %d bytes that no kind of image begins with", im.name, ErrNotImage, n)
	case im.info.Kind == image.KindAddon:
		return fmt.Errorf("%s: %w: an addon extends a unified kernel image and has no kernel", im.name, ErrNotImage)
	case im.info.Kind == image.KindContainer:
		return fmt.Errorf("%s: %w: a container of parser programs has no kernel", im.name, ErrNotImage)
	}
	return nil
}
