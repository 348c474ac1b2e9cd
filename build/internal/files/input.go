// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
)

// Errors of this package.
var (
	// ErrTooLarge means that a file exceeds the limit for its use.
	ErrTooLarge = errors.New("larger than the limit")
	// ErrChanged means that a file shrank while it was being read.
	ErrChanged = errors.New("file changed while it was being read")
	// ErrExists means that an output file is there already.
	ErrExists = errors.New("file exists")
)

// Input is the contents of a file as bytes: on Linux a mapping, so that its
// size costs address space and no memory.
type Input struct {
	data          []byte
	unmap, forget func() error
}

// Open maps the file at path, of at most limit bytes. Pipes and the like are
// read into memory; "-" is not special.
func Open(path string, limit int64) (*Input, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, fmt.Errorf("%s: is a directory", path)
	}
	if fi.Mode().IsRegular() && fi.Size() > limit {
		return nil, fmt.Errorf("%s: %w: 0x%x bytes, at most 0x%x", path, ErrTooLarge, fi.Size(), limit)
	}
	// Files of /proc and /sys tell size 0 and have contents.
	if fi.Mode().IsRegular() && fi.Size() > 0 && fi.Size() <= math.MaxInt {
		in, err := mapInput(f, int(fi.Size()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return in, nil
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: %w: more than 0x%x bytes", path, ErrTooLarge, limit)
	}
	return &Input{data: b}, nil
}

// Bytes returns the contents, which must not be used after Close.
func (in *Input) Bytes() []byte { return in.data }

// Forget gives memory back that holds contents; reading Bytes brings them back
// from the file.
func (in *Input) Forget() error {
	if in.forget == nil {
		return nil
	}
	return in.forget()
}

// Close gives the contents back.
func (in *Input) Close() error {
	f := in.unmap
	in.data, in.unmap, in.forget = nil, nil, nil
	if f == nil {
		return nil
	}
	return f()
}

// Guard calls f and turns the fault that reading a mapping of a file causes
// after somebody cut the file short into ErrChanged.
func Guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		r := recover()
		if r == nil {
			return
		}
		// Only faults have an address; everything else is a bug of ours.
		if e, ok := r.(interface{ Addr() uintptr }); ok {
			err = fmt.Errorf("%w (fault at 0x%x)", ErrChanged, e.Addr())
			return
		}
		panic(r)
	}()
	if err = f(); isFault(err) {
		err = fmt.Errorf("%w (%w)", ErrChanged, err)
	}
	return err
}
