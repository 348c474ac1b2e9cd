// SPDX-License-Identifier: Apache-2.0

package cpio

import (
	"fmt"
	"io"
	"math"
	"path"
	"strings"
)

// Writer writes one archive. The same calls give the same bytes: inode
// numbers count up from 1, and nothing is taken from the clock or the
// machine.
type Writer struct {
	w      io.Writer
	at     uint64
	inode  uint32
	dirs   map[string]bool
	closed bool
	err    error
}

// NewWriter returns a Writer that writes to w. The archive must start at a
// multiple of four bytes of what the kernel will see.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, dirs: map[string]bool{}}
}

// Write adds an entry. It fails with ErrEntry when the name is empty, holds a
// NUL, is too long or is the name of the trailer, or when the contents exceed
// 4 GiB.
func (w *Writer) Write(h Header, data []byte) error {
	if w.err != nil {
		return w.err
	}
	switch {
	case w.closed:
		return fmt.Errorf("%w: %q after Close", ErrEntry, h.Name)
	case h.Name == "" || h.Name == trailer || strings.IndexByte(h.Name, 0) >= 0 || len(h.Name) >= maxName:
		return fmt.Errorf("%w: name %.64q", ErrEntry, h.Name)
	case uint64(len(data)) > math.MaxUint32:
		return fmt.Errorf("%w: %q of 0x%x bytes", ErrEntry, h.Name, len(data))
	}
	if h.Inode == 0 {
		w.inode++
		h.Inode = w.inode
	}
	if h.NLink == 0 {
		h.NLink = 1
		if h.Mode&ModeType == ModeDir {
			h.NLink = 2
		}
	}
	if h.Mode&ModeType == ModeDir {
		w.dirs[path.Clean(h.Name)] = true
	}
	return w.entry(h, data)
}

// File adds a regular file of root with the given permissions, and before it
// the directories in its path that were not added yet, with mode 0755.
func (w *Writer) File(name string, perm uint32, data []byte) error {
	if err := w.parents(name); err != nil {
		return err
	}
	return w.Write(Header{Name: name, Mode: ModeRegular | perm&^ModeType}, data)
}

// Dir adds a directory of root, its parents included, unless it was added
// before.
func (w *Writer) Dir(name string, perm uint32) error {
	if w.dirs[path.Clean(name)] {
		return nil
	}
	if err := w.parents(name); err != nil {
		return err
	}
	return w.Write(Header{Name: name, Mode: ModeDir | perm&^ModeType}, nil)
}

// Symlink adds a symbolic link of root and its parents.
func (w *Writer) Symlink(name, target string) error {
	if err := w.parents(name); err != nil {
		return err
	}
	return w.Write(Header{Name: name, Mode: ModeSymlink | 0o777}, []byte(target))
}

// Device adds a device node of root and its parents; typ is ModeChar or
// ModeBlock.
func (w *Writer) Device(name string, typ, perm, major, minor uint32) error {
	if err := w.parents(name); err != nil {
		return err
	}
	return w.Write(Header{Name: name, Mode: typ&ModeType | perm&^ModeType, RDevMajor: major, RDevMinor: minor}, nil)
}

func (w *Writer) parents(name string) error {
	dir := path.Dir(path.Clean(name))
	if dir == "." || dir == "/" || w.dirs[dir] {
		return nil
	}
	return w.Dir(dir, 0o755)
}

// Close writes the trailer. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.closed || w.err != nil {
		return w.err
	}
	w.closed = true
	return w.entry(Header{Name: trailer, NLink: 1}, nil)
}

func (w *Writer) entry(h Header, data []byte) error {
	head := fmt.Sprintf("%s%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", magicNewc,
		h.Inode, h.Mode, h.UID, h.GID, h.NLink, h.MTime, len(data),
		h.DevMajor, h.DevMinor, h.RDevMajor, h.RDevMinor, len(h.Name)+1, 0, h.Name)
	w.put([]byte(head))
	w.pad()
	w.put(data)
	w.pad()
	return w.err
}

func (w *Writer) put(b []byte) {
	if w.err != nil || len(b) == 0 {
		return
	}
	n, err := w.w.Write(b)
	w.at += uint64(n)
	if err != nil {
		w.err = fmt.Errorf("cpio at byte 0x%x: %w", w.at, err)
	}
}

func (w *Writer) pad() { w.put(make([]byte, pad4(w.at)-w.at)) }
