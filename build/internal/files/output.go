// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// Output is a file that comes into being with Commit, and not before.
type Output struct {
	*os.File
	path string
	perm fs.FileMode
	over bool
	done bool
}

// Create begins the file that is to be at path, with the given permissions
// less the umask's. Without replace it fails with ErrExists when there is
// one, also when it appears before Commit.
func Create(path string, perm fs.FileMode, replace bool) (*Output, error) {
	if fi, err := os.Lstat(path); err == nil {
		if fi.IsDir() {
			return nil, fmt.Errorf("%s: is a directory", path)
		}
		if !replace {
			return nil, fmt.Errorf("%s: %w", path, ErrExists)
		}
	}
	f, err := createTemp(path, perm)
	if err != nil {
		return nil, err
	}
	return &Output{File: f, path: path, perm: perm, over: replace}, nil
}

// createTemp makes a new file beside path. os.CreateTemp would lose the umask.
func createTemp(path string, perm fs.FileMode) (*os.File, error) {
	dir, base := filepath.Split(path)
	for i := 0; ; i++ {
		name := filepath.Join(dir, fmt.Sprintf(".%s.%d.%d.tmp", base, os.Getpid(), i))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if err == nil || !errors.Is(err, fs.ErrExist) || i == 10000 {
			return f, err
		}
	}
}

// Input maps what was written so far, at most limit bytes. That is the file
// which is open, not the one that its name leads to by now: in a folder where
// others may rename files, that could be theirs.
func (o *Output) Input(limit int64) (*Input, error) {
	fi, err := o.Stat()
	if err != nil {
		return nil, err
	}
	switch n := fi.Size(); {
	case n > limit || n > math.MaxInt:
		return nil, fmt.Errorf("%s: %w: 0x%x bytes, at most 0x%x", o.path, ErrTooLarge, n, limit)
	case n == 0:
		return &Input{}, nil
	}
	in, err := mapInput(o.File, int(fi.Size()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.path, err)
	}
	return in, nil
}

// Commit puts the file in place.
func (o *Output) Commit() error {
	if o.done {
		return fs.ErrClosed
	}
	o.done = true
	name := o.Name()
	err := o.Sync()
	if cerr := o.File.Close(); err == nil {
		err = cerr
	}
	if err == nil && o.over {
		if err = os.Rename(name, o.path); err == nil {
			return nil
		}
	} else if err == nil {
		// A link, other than a rename, does not replace what came meanwhile.
		err = os.Link(name, o.path)
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s: %w", o.path, ErrExists)
		} else if err != nil {
			// File systems such as FAT have no links.
			if err = os.Rename(name, o.path); err == nil {
				return nil
			}
		}
	}
	if rerr := os.Remove(name); err == nil {
		err = rerr
	}
	return err
}

// Close drops the file unless it was committed. It may be called after Commit.
func (o *Output) Close() error {
	if o.done {
		return nil
	}
	o.done = true
	name := o.Name()
	err := o.File.Close()
	if rerr := os.Remove(name); err == nil {
		err = rerr
	}
	return err
}
