// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Simple file system and file protocols (UEFI, sections 13.4 and 13.5), for
// reading. Names are found without regard to case, as on FAT.

// maxFile bounds what is read of one file, in bytes.
const maxFile = 1 << 30

type fileSystem struct {
	root      fs.FS
	handle    *handle
	open      map[uint64]*openFile // by address of the interface
	held      uint64               // bytes of contents of open files
	functions []byte
}

type openFile struct {
	name    string // "." is the root
	info    fs.FileInfo
	data    []byte // of a file, once it is read
	read    bool
	entries []fs.DirEntry // of a directory
	pos     uint64
}

// lookup returns the name as it is spelled in the file system.
func (s *fileSystem) lookup(dir, name string) (string, fs.FileInfo, error) {
	name = strings.ReplaceAll(name, `\`, "/")
	if strings.HasPrefix(name, "/") {
		dir = "."
	}
	full := path.Clean(path.Join("/", dir, name))[1:]
	if full == "" {
		full = "."
	}
	if info, err := fs.Stat(s.root, full); err == nil {
		return full, info, nil
	}
	at := "."
	for _, want := range strings.Split(full, "/") {
		entries, err := fs.ReadDir(s.root, at)
		if err != nil {
			return "", nil, err
		}
		found := ""
		for _, e := range entries {
			if strings.EqualFold(e.Name(), want) {
				found = e.Name()
				break
			}
		}
		if found == "" {
			return "", nil, fs.ErrNotExist
		}
		at = path.Join(at, found)
	}
	info, err := fs.Stat(s.root, at)
	return at, info, err
}

// readAll reads a file by name from the root.
func (s *fileSystem) readAll(name string) ([]byte, error) {
	full, info, err := s.lookup(".", name)
	if err != nil {
		return nil, err
	}
	return s.contents(full, info)
}

func (s *fileSystem) contents(name string, info fs.FileInfo) ([]byte, error) {
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, at most %d", name, info.Size(), int64(maxFile))
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, int64(maxFile))
	}
	return b, err
}

// newFile makes the interface of an open file.
func (f *Firmware) newFile(o *openFile) (uint64, Status) {
	if len(f.fs.open) >= maxOpen {
		return 0, OutOfResources
	}
	at, ok := f.newPool(f.fs.functions)
	if !ok {
		return 0, OutOfResources
	}
	f.fs.open[at] = o
	return at, Success
}

func (f *Firmware) openVolume(c *call) Status {
	if f.fs == nil {
		return Unsupported
	}
	if c.out(c.args[1], 8) == nil {
		return InvalidParameter
	}
	info, err := fs.Stat(f.fs.root, ".")
	if err != nil {
		c.notef("%v", err)
		return DeviceError
	}
	at, s := f.newFile(&openFile{name: ".", info: info})
	if s == Success {
		c.put64(c.args[1], at)
	}
	return s
}

// file returns the open file whose interface is at addr.
func (f *Firmware) file(addr uint64) *openFile {
	if f.fs == nil {
		return nil
	}
	return f.fs.open[addr]
}

func (f *Firmware) fileOpen(c *call) Status {
	o, name, mode := f.file(c.args[0]), c.text(c.args[2]), c.args[3]
	if o == nil || c.bad != nil || c.out(c.args[1], 8) == nil {
		return InvalidParameter
	}
	const readMode = 1
	if mode != readMode {
		return WriteProtected
	}
	dir := o.name
	if !o.info.IsDir() {
		dir = path.Dir(dir)
	}
	full, info, err := f.fs.lookup(dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case err != nil:
		c.notef("%v", err)
		return AccessDenied
	}
	at, s := f.newFile(&openFile{name: full, info: info})
	if s == Success {
		c.put64(c.args[1], at)
		c.notef("%#x", at)
	}
	return s
}

func (f *Firmware) fileClose(c *call) Status {
	o := f.file(c.args[0])
	if o == nil {
		return InvalidParameter
	}
	delete(f.fs.open, c.args[0])
	f.fs.held -= uint64(len(o.data))
	if p, ok := f.pool[c.args[0]]; ok {
		delete(f.pool, c.args[0])
		k := poolClass{p.t, p.size}
		f.poolFree[k] = append(f.poolFree[k], c.args[0])
	}
	return Success
}

// fileDelete closes the file and warns that it is still there.
func (f *Firmware) fileDelete(c *call) Status {
	if s := f.fileClose(c); s != Success {
		return s
	}
	return 2 // EFI_WARN_DELETE_FAILURE
}

// fill reads what is behind an open file.
func (f *Firmware) fill(o *openFile) error {
	if o.read {
		return nil
	}
	if o.info.IsDir() {
		var err error
		o.entries, err = fs.ReadDir(f.fs.root, o.name)
		o.read = err == nil
		return err
	}
	if f.cfg.VerifyFile == nil {
		return fmt.Errorf("%s: nobody to verify it", o.name)
	}
	room := maxOpenData - f.fs.held
	if uint64(max(o.info.Size(), 0)) > room {
		return fmt.Errorf("%s: open files of more than %d bytes", o.name, uint64(maxOpenData))
	}
	data, err := f.fs.contents(o.name, o.info)
	if err == nil && uint64(len(data)) > room {
		err = fmt.Errorf("%s: open files of more than %d bytes", o.name, uint64(maxOpenData))
	}
	if err == nil {
		err = f.cfg.VerifyFile(o.name, data)
	}
	if err != nil {
		return err
	}
	o.data, o.read = data, true
	f.fs.held += uint64(len(data))
	return nil
}

func (f *Firmware) fileRead(c *call) Status {
	o, sizeAt, at := f.file(c.args[0]), c.args[1], c.args[2]
	have := c.u64(sizeAt)
	if o == nil || c.bad != nil {
		return InvalidParameter
	}
	if err := f.fill(o); err != nil {
		c.notef("%v", err)
		return AccessDenied
	}
	if o.info.IsDir() {
		if o.pos >= uint64(len(o.entries)) {
			c.put64(sizeAt, 0)
			return Success
		}
		e := o.entries[o.pos]
		info, err := e.Info()
		if err != nil {
			return DeviceError
		}
		b := encodeFileInfo(e.Name(), info)
		c.put64(sizeAt, uint64(len(b)))
		if have < uint64(len(b)) {
			return BufferTooSmall
		}
		copy(c.out(at, uint64(len(b))), b)
		o.pos++
		c.notef("%q", e.Name())
		return Success
	}
	size := uint64(len(o.data))
	if o.pos > size {
		return DeviceError
	}
	n := min(have, size-o.pos)
	f.external = true
	copy(c.out(at, n), o.data[o.pos:])
	c.put64(sizeAt, n)
	if c.bad == nil {
		o.pos += n
	}
	c.notef("%d bytes", n)
	return Success
}

func (f *Firmware) fileTell(c *call) Status {
	o := f.file(c.args[0])
	if o == nil {
		return InvalidParameter
	}
	if o.info.IsDir() {
		return Unsupported
	}
	c.put64(c.args[1], o.pos)
	return Success
}

func (f *Firmware) fileSeek(c *call) Status {
	o := f.file(c.args[0])
	if o == nil {
		return InvalidParameter
	}
	pos := c.args[1]
	switch {
	case o.info.IsDir() && pos != 0:
		return Unsupported
	case pos == ^uint64(0):
		pos = uint64(o.info.Size())
	}
	o.pos = pos
	return Success
}

// encodeFileInfo writes an EFI_FILE_INFO.
func encodeFileInfo(name string, info fs.FileInfo) []byte {
	b := make([]byte, 80)
	if !info.IsDir() {
		le.PutUint64(b[8:], uint64(info.Size()))
		le.PutUint64(b[16:], uint64(info.Size()))
	}
	for _, at := range []int{24, 40, 56} {
		encodeTime(b[at:], info.ModTime().UTC())
	}
	const attrReadOnly, attrDirectory = 1, 16
	attr := uint64(attrReadOnly)
	if info.IsDir() {
		attr |= attrDirectory
	}
	le.PutUint64(b[72:], attr)
	b = append(b, utf16z(name)...)
	le.PutUint64(b, uint64(len(b)))
	return b
}

func (f *Firmware) fileInfo(c *call) Status {
	o, g, sizeAt, at := f.file(c.args[0]), c.guid(c.args[1]), c.args[2], c.args[3]
	have := c.u64(sizeAt)
	if o == nil || c.bad != nil {
		return InvalidParameter
	}
	var b []byte
	switch g {
	case guidFileInfo():
		name := path.Base(o.name)
		if o.name == "." {
			name = ""
		}
		b = encodeFileInfo(name, o.info)
	case guidFileSystemInfo():
		b = make([]byte, 36)
		b[8] = 1 // read only
		le.PutUint32(b[32:], 512)
		b = append(b, utf16z("peel")...)
		le.PutUint64(b, uint64(len(b)))
	default:
		return Unsupported
	}
	c.put64(sizeAt, uint64(len(b)))
	if have < uint64(len(b)) {
		return BufferTooSmall
	}
	copy(c.out(at, uint64(len(b))), b)
	return Success
}
