// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/ima"
)

// maxSidecar bounds a detached signature in bytes.
const maxSidecar = 1 << 20

// signatures holds the signatures that came with a file.
type signatures struct {
	sidecars []trust.Sidecar
	ima      []byte
}

// open reads a file once, and the signatures that lie beside it if asked to.
// The attribute is read from the open file, so that it belongs to the bytes
// whatever happens to the name. A signature that is there and cannot be read
// is an error; none at all is not.
func open(path string, limit int64, look bool) (*sealed.Memory, signatures, error) {
	var found signatures
	f, err := os.Open(path)
	if err != nil {
		return nil, found, err
	}
	defer f.Close()
	mem, err := sealed.OpenFile(f, path, limit)
	if err != nil || !look {
		return mem, found, err
	}
	found, err = signaturesOf(f, path)
	if err != nil {
		mem.Close()
		return nil, found, err
	}
	return mem, found, nil
}

func signaturesOf(f *os.File, path string) (signatures, error) {
	var found signatures
	for _, ext := range []string{".sig", ".p7s"} {
		mem, err := sealed.Open(path+ext, maxSidecar)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return found, err
		}
		found.sidecars = append(found.sidecars, trust.Sidecar{Name: path + ext, Data: append([]byte(nil), mem.Bytes()...)})
		mem.Close()
	}
	value, err := ima.Read(ima.File{File: f})
	if err != nil {
		return found, fmt.Errorf("%s: %w", path, err)
	}
	found.ima = value
	return found, nil
}

// Part is a part from outside that was read once, with the signatures that
// came with it.
type Part struct {
	File
	mem *sealed.Memory
}

// OpenPart reads a part from outside, "-" for standard input, at most limit
// bytes, DefaultLimit if zero.
func OpenPart(path string, limit int64) (*Part, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	if path == "-" {
		mem, err := sealed.ReadAll(os.Stdin, path, limit)
		if err != nil {
			return nil, err
		}
		return &Part{File{Name: "standard input", Data: mem.Bytes()}, mem}, nil
	}
	mem, found, err := open(path, limit, true)
	if err != nil {
		return nil, err
	}
	return &Part{File{Name: path, Data: mem.Bytes(), Sidecars: found.sidecars, IMA: found.ima}, mem}, nil
}

// Close gives the part's memory back.
func (p *Part) Close() error { return p.mem.Close() }
