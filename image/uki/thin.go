// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/peelboot/peel/image/pe"
)

// ErrThin means that a thin image is malformed.
var ErrThin = errors.New("bad thin image")

// ErrThinHash means that a file is not the one that a thin image names.
var ErrThinHash = errors.New("file does not have the digest in the thin image")

// Ref names a file by path and digest.
type Ref struct {
	// Section is the section that holds the path.
	Section string
	// Path is below the root of the volume that the image lies on, parted
	// by slashes, without one in front.
	Path string
	// SHA256 is the digest of the whole file.
	SHA256 [sha256.Size]byte
}

// Check fails with ErrThinHash unless b is the file that r names.
func (r Ref) Check(b []byte) error {
	if sum := sha256.Sum256(b); sum != r.SHA256 {
		return fmt.Errorf("%w: %s is %x, the image says %x", ErrThinHash, r.Path, sum, r.SHA256)
	}
	return nil
}

// Thin is an image that holds paths and digests in place of kernel and initial
// RAM disk, as lanzaboote makes them: the signature of the image covers the
// digests, and so the files.
type Thin struct {
	File   *pe.File
	Kernel Ref
	// Initrd is nil when the image names none.
	Initrd *Ref
	// Cmdline is the command line as the kernel gets it.
	Cmdline string
}

// thinNames are the sections of path and digest: those of lanzaboote since
// 0.3, whose paths stand where a UKI has the contents, and those before.
func thinNames() [2][4]string {
	return [2][4]string{{Linux, ".linuxh", Initrd, ".initrdh"}, {".kernelp", ".kernelh", ".initrdp", ".initrdh"}}
}

// IsThin reports whether f has a kernel's path and its digest.
func IsThin(f *pe.File) bool {
	for _, n := range thinNames() {
		_, path := f.Find(n[0])
		_, hash := f.Find(n[1])
		if path && hash {
			return true
		}
	}
	return false
}

// ReadThin reads a thin image. It fails with ErrThin, ErrDuplicate and
// ErrText.
func ReadThin(f *pe.File) (*Thin, error) {
	names := thinNames()[0]
	if _, ok := f.Find(names[1]); !ok {
		names = thinNames()[1]
	}
	found := map[string][]byte{}
	for _, s := range f.Sections {
		switch s.Name {
		case names[0], names[1], names[2], names[3], Cmdline:
			if _, twice := found[s.Name]; twice {
				return nil, fmt.Errorf("%w: %s", ErrDuplicate, s.Name)
			}
			found[s.Name] = f.Data(s)
		}
	}
	t := &Thin{File: f}
	kernel, err := readRef(found, names[0], names[1])
	if err != nil {
		return nil, err
	}
	if kernel == nil {
		return nil, fmt.Errorf("%w: no %s", ErrThin, names[0])
	}
	t.Kernel = *kernel
	if t.Initrd, err = readRef(found, names[2], names[3]); err != nil {
		return nil, err
	}
	if t.Cmdline, err = CmdlineText(found[Cmdline]); err != nil {
		return nil, err
	}
	return t, nil
}

// maxThinPath bounds a path in bytes (PATH_MAX of the kernel).
const maxThinPath = 4096

func readRef(found map[string][]byte, path, hash string) (*Ref, error) {
	p, havePath := found[path]
	h, haveHash := found[hash]
	switch {
	case !havePath && !haveHash:
		return nil, nil
	case havePath != haveHash:
		return nil, fmt.Errorf("%w: only one of %s and %s", ErrThin, path, hash)
	case len(h) < sha256.Size || len(strings.TrimRight(string(h[sha256.Size:]), "\x00")) > 0:
		return nil, fmt.Errorf("%w: %s has 0x%x bytes, want 0x%x", ErrThin, hash, len(h), sha256.Size)
	case len(p) > maxThinPath:
		return nil, fmt.Errorf("%w: %s is a path of 0x%x bytes, 0x%x at most", ErrThin, path, len(p), maxThinPath)
	}
	text := trimText(p)
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%w: %s is not UTF-8", ErrThin, path)
	}
	name := strings.TrimLeft(strings.ReplaceAll(text, `\`, "/"), "/")
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' }) {
			return nil, fmt.Errorf("%w: %s is %.128q, want a path below the root of the volume", ErrThin, path, text)
		}
	}
	return &Ref{Section: path, Path: name, SHA256: [sha256.Size]byte(h)}, nil
}
