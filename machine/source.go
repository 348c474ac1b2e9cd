// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

const (
	// limitFile bounds an ordinary file of /proc or /sys.
	limitFile = 1 << 20
	// limitConfig bounds a kernel configuration after decompression.
	limitConfig = 8 << 20
	// limitSymbols bounds what is read of /proc/kallsyms, of which only the
	// few lines of interest are kept.
	limitSymbols = 64 << 20
	// limitFDT bounds a device tree.
	limitFDT = 8 << 20
	// limitTotal bounds all that one snapshot keeps.
	limitTotal = 64 << 20
	// limitEntries bounds the entries read of one directory.
	limitEntries = 8192

	// manifestName is the file of a recording that tells what reading the
	// machine could not: which files were refused or broken.
	manifestName   = "peel-recording.txt"
	manifestHeader = "peel machine recording 1"

	whyAbsent = "no such file"
)

// file is what one read yielded.
type file struct {
	path  string // with a leading slash
	data  []byte
	state State
	why   string
}

func (f file) text() string { return strings.TrimRight(string(f.data), "\x00\n") }

// kind says what a recording must hold for one path.
type kind uint8

const (
	kindFile kind = iota // a file with these contents
	kindMark             // a file or directory of which only the name counts
	kindDir
	kindDenied
	kindFailed
)

type entry struct {
	kind kind
	data []byte
	why  string
}

// snapshot reads below one root, each file once, and remembers what it saw.
type snapshot struct {
	fsys fs.FS
	// seen maps slash-separated paths without a leading slash to what was
	// found there. Absent paths are not in it.
	seen  map[string]entry
	told  map[string]entry // what a recording's manifest says
	total int64
}

func newSnapshot(fsys fs.FS) *snapshot {
	s := &snapshot{fsys: fsys, seen: map[string]entry{}, told: map[string]entry{}}
	s.readManifest()
	return s
}

// readManifest takes refused and broken files of a recording into account. A
// running machine has no such file in its root directory.
func (s *snapshot) readManifest() {
	b, err := s.open(manifestName, limitFile, nil)
	if err != nil {
		return
	}
	lines := strings.Split(string(b), "\n")
	if lines[0] != manifestHeader {
		return
	}
	for _, line := range lines[1:] {
		verb, rest, _ := strings.Cut(line, " ")
		path, why, _ := strings.Cut(rest, "\t")
		switch {
		case !fs.ValidPath(path):
		case verb == "denied":
			s.told[path] = entry{kind: kindDenied, why: why}
		case verb == "failed":
			s.told[path] = entry{kind: kindFailed, why: why}
		}
	}
}

// open reads a regular file. filter, when given, reads the stream itself and
// returns what is to be kept.
func (s *snapshot) open(path string, limit int64, filter func(io.Reader) ([]byte, error)) ([]byte, error) {
	// Opening a FIFO or a device could block or act, so look before.
	st, err := fs.Stat(s.fsys, path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("is no regular file but %v", st.Mode().Type())
	}
	f, err := s.fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := io.LimitReader(f, limit+1)
	var b []byte
	if filter != nil {
		b, err = filter(r)
	} else {
		b, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("exceeds %d bytes", limit)
	}
	return b, nil
}

// read returns the contents of path, of at most limit bytes.
func (s *snapshot) read(path string, limit int64) file {
	return s.readFiltered(path, limit, nil)
}

// readFiltered is read with a filter over the stream; what the filter returns
// is what the snapshot and a recording keep. A filter must leave its own
// output unchanged, or a recording would not read back alike.
func (s *snapshot) readFiltered(path string, limit int64, filter func(io.Reader) ([]byte, error)) file {
	if e, ok := s.seen[path]; ok && e.kind != kindMark && e.kind != kindDir {
		return e.file(path)
	}
	e, ok := s.told[path]
	if !ok {
		b, err := s.open(path, limit, filter)
		switch {
		case err == nil && s.total+int64(len(b)) > limitTotal:
			e = entry{kind: kindFailed, why: fmt.Sprintf("the snapshot exceeds %d bytes", limitTotal)}
		case err == nil:
			s.total += int64(len(b))
			e = entry{kind: kindFile, data: b}
		case errors.Is(err, fs.ErrNotExist):
			return file{path: "/" + path, why: whyAbsent}
		case errors.Is(err, fs.ErrPermission):
			e = entry{kind: kindDenied, why: plain(err)}
		default:
			e = entry{kind: kindFailed, why: plain(err)}
		}
	}
	s.seen[path] = e
	return e.file(path)
}

func (e entry) file(path string) file {
	f := file{path: "/" + path, data: e.data, why: e.why}
	switch e.kind {
	case kindDenied:
		f.state = NotPermitted
	case kindFailed:
	default:
		f.state = Known
	}
	return f
}

// list returns the names in a directory, sorted. The second result tells why
// it could not, as a file without contents.
func (s *snapshot) list(path string) ([]string, file) {
	f := file{path: "/" + path, state: Known}
	if e, ok := s.told[path]; ok {
		s.seen[path] = e
		return nil, e.file(path)
	}
	// A recording holds no file for what was refused; its name is told.
	var names []string
	for told := range s.told {
		if dir, name, ok := cutLast(told); ok && dir == path {
			names = append(names, name)
		}
	}
	dir, err := fs.ReadDir(s.fsys, path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(names) > 0:
	case errors.Is(err, fs.ErrNotExist):
		f.state, f.why = Unknown, whyAbsent
		return nil, f
	case errors.Is(err, fs.ErrPermission):
		s.seen[path] = entry{kind: kindDenied, why: plain(err)}
		return nil, s.seen[path].file(path)
	case err != nil:
		s.seen[path] = entry{kind: kindFailed, why: plain(err)}
		return nil, s.seen[path].file(path)
	}
	if len(dir) > limitEntries {
		s.seen[path] = entry{kind: kindFailed, why: fmt.Sprintf("holds more than %d entries", limitEntries)}
		return nil, s.seen[path].file(path)
	}
	if _, ok := s.seen[path]; !ok {
		s.seen[path] = entry{kind: kindDir}
	}
	for _, d := range dir {
		if strings.ContainsFunc(d.Name(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			continue // no file this package reads; would break a manifest
		}
		names = append(names, d.Name())
	}
	slices.Sort(names)
	return slices.Compact(names), f
}

func cutLast(path string) (dir, name string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

// mark records that path exists, without its contents.
func (s *snapshot) mark(path string, dir bool) {
	if _, ok := s.seen[path]; ok {
		return
	}
	k := kindMark
	if dir {
		k = kindDir
	}
	s.seen[path] = entry{kind: k}
}

// exists tells whether path is there. Only a missing path is known to be
// absent.
func (s *snapshot) exists(path string) Fact[bool] {
	if e, ok := s.told[path]; ok {
		s.seen[path] = e
		return lost[bool](e.file(path))
	}
	st, err := fs.Stat(s.fsys, path)
	switch {
	case err == nil:
		s.mark(path, st.IsDir())
		return KnownFact(true, "/"+path)
	case errors.Is(err, fs.ErrNotExist):
		return KnownFact(false, "/"+path)
	case errors.Is(err, fs.ErrPermission):
		s.seen[path] = entry{kind: kindDenied, why: plain(err)}
	default:
		s.seen[path] = entry{kind: kindFailed, why: plain(err)}
	}
	return lost[bool](s.seen[path].file(path))
}

// plain returns the text of the innermost error on one line: the path is told
// elsewhere.
func plain(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error())
}

// keepLines returns a filter that keeps the lines for which keep is true.
func keepLines(keep func(line []byte) bool) func(io.Reader) ([]byte, error) {
	return func(r io.Reader) ([]byte, error) {
		var out bytes.Buffer
		err := eachLine(r, func(line []byte) bool {
			if keep(line) {
				out.Write(line)
				out.WriteByte('\n')
			}
			return true
		})
		return out.Bytes(), err
	}
}

// eachLine calls do with each line of at most 64 KiB, without its end, until
// do returns false. Longer lines are cut.
func eachLine(r io.Reader, do func([]byte) bool) error {
	const maxLine = 64 << 10
	buf := make([]byte, 0, 32<<10)
	chunk := make([]byte, 32<<10)
	for {
		n, err := r.Read(chunk)
		data := chunk[:n]
		for {
			i := bytes.IndexByte(data, '\n')
			part := data
			if i >= 0 {
				part = data[:i]
			}
			if room := maxLine - len(buf); len(part) > room {
				part = part[:room]
			}
			buf = append(buf, part...)
			if i < 0 {
				break
			}
			if !do(buf) {
				return nil
			}
			buf, data = buf[:0], data[i+1:]
		}
		if errors.Is(err, io.EOF) {
			if len(buf) > 0 {
				do(buf)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}
