// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/peelboot/peel/build/internal/files"
)

// Limits on parts, in bytes.
const (
	// MaxFile bounds every file: a PE image has 32-bit offsets, and
	// firmware has to find as much memory in one piece.
	MaxFile = 1<<31 - 1
	// maxImage bounds a whole image.
	maxImage = 1 << 32
	// MaxStub bounds the code of a boot stub; real ones have some 100 KiB.
	MaxStub = 64 << 20
	// MaxText bounds texts: command lines, os-release, SBAT, JSON.
	MaxText = 1 << 20
)

// Content is what goes into a part of an image: the contents of a file or
// bytes at hand. The zero Content means that there is no such part.
type Content struct {
	path string
	data []byte
	set  bool
	// name is what messages call data, if it has a name.
	name string
}

// File is the contents of the file at path, which is opened when the image is
// built and must not change until the image is closed.
func File(path string) Content { return Content{path: path, set: true} }

// Bytes is the contents b, which must not change until the image is closed.
func Bytes(b []byte) Content { return Content{data: b, set: true} }

// Text is the contents s.
func Text(s string) Content { return Content{data: []byte(s), set: true} }

// IsSet reports whether c is other than the zero Content.
func (c Content) IsSet() bool { return c.set }

// String returns the path, or says how many bytes there are.
func (c Content) String() string {
	if c.path != "" {
		return c.path
	}
	if c.name != "" {
		return c.name
	}
	return fmt.Sprintf("%d bytes", len(c.data))
}

// inputs keeps files open while their contents are used.
type inputs struct {
	list []*files.Input
	// closers give up memory that parts were decompressed into.
	closers []func() error
}

// bytes returns the contents of c, at most limit bytes.
func (in *inputs) bytes(c Content, limit int64) ([]byte, error) {
	if c.path == "" {
		if int64(len(c.data)) > limit {
			return nil, fmt.Errorf("%w: 0x%x bytes, at most 0x%x", ErrTooLarge, len(c.data), limit)
		}
		return c.data, nil
	}
	f, err := files.Open(c.path, limit)
	if err != nil {
		return nil, err
	}
	in.list = append(in.list, f)
	return f.Bytes(), nil
}

// text returns a copy of the contents of c without zero bytes at the end.
func (in *inputs) text(c Content) ([]byte, error) {
	b, err := in.bytes(c, MaxText)
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(bytes.Clone(b), "\x00"), nil
}

// required returns the contents of c, a part that must be there and must not
// be empty.
func (in *inputs) required(what string, c Content, limit int64) ([]byte, error) {
	if !c.IsSet() {
		return nil, fmt.Errorf("%w: %s", ErrMissing, what)
	}
	b, err := in.bytes(c, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: %s %s is empty", ErrPart, what, c)
	}
	return b, nil
}

// forget gives memory back that the parts take until they are read again.
func (in *inputs) forget() error {
	var errs []error
	for _, f := range in.list {
		errs = append(errs, f.Forget())
	}
	return errors.Join(errs...)
}

func (in *inputs) close() error {
	var errs []error
	for _, f := range in.list {
		errs = append(errs, f.Close())
	}
	for _, f := range in.closers {
		errs = append(errs, f())
	}
	in.list, in.closers = nil, nil
	return errors.Join(errs...)
}
