// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
)

// ErrExists is returned by Record when the directory holds something already.
var ErrExists = errors.New("machine: directory is not empty")

// ErrNoSnapshot is returned by Record for a Machine that Read did not make.
var ErrNoSnapshot = errors.New("machine: made by hand, there is nothing to record")

// Record writes the files that Read has read into dir, which is created or
// must be empty, so that Read(dir) returns an equal Machine. It writes the
// snapshot: nothing is read again.
//
// Left out, because Read leaves them out: EFI variables other than those
// docs/machine.md lists, the RNG seed of setup_data, rng-seed and kaslr-seed
// in the device tree, serial numbers and UUIDs of SMBIOS, virtual addresses of
// the kernel and its symbols, registers and pointers of the process. The kernel command line is
// recorded as it is, also where it stands in the device tree.
func (m *Machine) Record(dir string) error {
	if m.snap == nil {
		return ErrNoSnapshot
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("machine: record: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("machine: record: %w", err)
	}
	defer root.Close()
	have, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("machine: record: %w", err)
	}
	if len(have) > 0 {
		return fmt.Errorf("machine: record into %s: %w", dir, ErrExists)
	}
	for _, f := range m.Recording() {
		if f.Dir {
			err = root.MkdirAll(f.Path, 0o755)
		} else if err = root.MkdirAll(path.Dir(f.Path), 0o755); err == nil {
			err = writeNew(root, f.Path, f.Data)
		}
		if err != nil {
			return fmt.Errorf("machine: record: %w", err)
		}
	}
	return nil
}

func writeNew(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// RecordedFile is one file or directory of a recording.
type RecordedFile struct {
	// Path is relative to the root of the machine, separated by slashes.
	Path string
	// Data is what the file holds; nil for a directory.
	Data []byte
	// Dir says that Path is a directory that must exist even when empty.
	Dir bool
}

// Recording returns what Record writes, sorted by path: for writers of
// archives. It is empty for a Machine that Read did not make.
func (m *Machine) Recording() []RecordedFile {
	if m.snap == nil {
		return nil
	}
	var out []RecordedFile
	var manifest bytes.Buffer
	fmt.Fprintln(&manifest, manifestHeader)
	for _, p := range slices.Sorted(maps.Keys(m.snap)) {
		e := m.snap[p]
		switch e.kind {
		case kindFile, kindMark:
			out = append(out, RecordedFile{Path: p, Data: e.data})
		case kindDir:
			out = append(out, RecordedFile{Path: p, Dir: true})
		case kindDenied:
			fmt.Fprintf(&manifest, "denied %s\t%s\n", p, e.why)
		case kindFailed:
			fmt.Fprintf(&manifest, "failed %s\t%s\n", p, e.why)
		}
	}
	out = append(out, RecordedFile{Path: manifestName, Data: manifest.Bytes()})
	slices.SortFunc(out, func(a, b RecordedFile) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) })
	return out
}
