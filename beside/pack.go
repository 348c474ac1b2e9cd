// SPDX-License-Identifier: Apache-2.0

package beside

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/peelboot/peel/image/cpio"
)

// ErrPack means that a file cannot be packed.
var ErrPack = errors.New("cannot pack what lies beside the image")

// Archive says where files go in the initial RAM disk and with what
// permissions.
type Archive struct {
	// Target is the directory, without a leading slash.
	Target string
	// Dir and File are permissions; directories above Target get 0555.
	Dir, File uint32
}

// Member is a file of an archive.
type Member struct {
	Name string
	Data []byte
}

// Meta is how the stub packs what it tells of the image itself, such as
// os-release and profile.
func Meta() Archive { return Archive{".extra", 0o555, 0o444} }

// trailer is the end of the stub's archives. Its one odd detail is the upper
// case digit.
const trailer = "070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
	"00000000" + "00000000" + "00000000" + "00000000" + "0000000B" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"

// Pack makes the archive of the members, which must be sorted as a Group's
// paths are. All belongs to root and has no time. It fails with ErrPack.
func (a Archive) Pack(members ...Member) ([]byte, error) {
	var out bytes.Buffer
	size := 0
	for _, m := range members {
		size += len(m.Data) + len(m.Name) + len(a.Target) + 128
	}
	out.Grow(size + 1024)
	w := cpio.NewWriter(&out)
	put := func(name string, mode uint32, data []byte) error {
		if err := w.Write(cpio.Header{Name: name, Mode: mode, NLink: 1}, data); err != nil {
			return fmt.Errorf("%w: %w", ErrPack, err)
		}
		return nil
	}
	for i, c := range a.Target {
		if c == '/' {
			if err := put(a.Target[:i], cpio.ModeDir|0o555, nil); err != nil {
				return nil, err
			}
		}
	}
	if err := put(a.Target, cpio.ModeDir|a.Dir, nil); err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.Name != filepath.Base(m.Name) || strings.Contains(m.Name, "/") || m.Name == ".." || m.Name == "." {
			return nil, fmt.Errorf("%w: name %.64q", ErrPack, m.Name)
		}
		if err := put(a.Target+"/"+m.Name, cpio.ModeRegular|a.File, m.Data); err != nil {
			return nil, err
		}
	}
	out.WriteString(trailer)
	return out.Bytes(), nil
}
