// SPDX-License-Identifier: Apache-2.0

package efivarfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/peelboot/peel/internal/unix"
)

// Errors of this package.
var (
	// ErrVolatile means a variable that firmware keeps in memory: after boot
	// services it takes no such writes (UEFI specification 2.10, section 8.2.3).
	ErrVolatile = errors.New("firmware takes volatile variables only before an operating system runs")
	// ErrBootOnly means a variable that only boot services can reach.
	ErrBootOnly = errors.New("firmware shows the variable to boot services only")
	// ErrAuthenticated means a variable whose writes are to be signed.
	ErrAuthenticated = errors.New("firmware takes signed writes of the variable only")
	// ErrName means a name or GUID that no file of efivarfs can have.
	ErrName = errors.New("not the name of a variable")
	// ErrExists means that the variable exists with other attributes.
	ErrExists = errors.New("the variable exists with other attributes")
)

// Attributes of variables (UEFI, section 8.2.1).
const (
	nonVolatile   = 1
	bootService   = 2
	runtimeAccess = 4
	authWrite     = 0x10
	timeAuthWrite = 0x20
	enhancedAuth  = 0x80
	maxName       = 255 - 37 // of a file name, less the GUID
	maxData       = 1 << 20
)

// Dir is a directory where efivarfs is mounted.
type Dir string

// Default is where Linux systems mount it.
const Default Dir = "/sys/firmware/efi/efivars"

// Writable says why the firmware would not take a variable with these
// attributes from a running system; nil is that it may.
func Writable(attributes uint32) error {
	switch {
	case attributes&(authWrite|timeAuthWrite|enhancedAuth) != 0:
		return ErrAuthenticated
	case attributes&runtimeAccess == 0:
		return ErrBootOnly
	case attributes&nonVolatile == 0:
		return ErrVolatile
	}
	return nil
}

func (d Dir) path(name, guid string) (string, error) {
	ok := len(guid) == 36 && strings.Trim(guid, "0123456789abcdef-") == "" && name != "" && len(name) <= maxName &&
		!strings.ContainsAny(name, "/\x00")
	if !ok {
		return "", fmt.Errorf("%.80q of %.80q: %w", name, guid, ErrName)
	}
	return filepath.Join(string(d), name+"-"+guid), nil
}

// Set writes a variable: name, GUID in its usual text form in lower case,
// attributes as in UEFI, contents. Empty data deletes it. A variable that is
// as it should be is left alone: flash wears out. Errors are those above or
// come from the file system: ENOSPC is what firmware without room gives.
func (d Dir) Set(name, guid string, attributes uint32, data []byte) error {
	path, err := d.path(name, guid)
	if err != nil {
		return fmt.Errorf("efivarfs: %w", err)
	}
	if len(data) > maxData {
		return fmt.Errorf("efivarfs: %s: %d bytes: %w", name, len(data), fs.ErrInvalid)
	}
	old, err := os.ReadFile(path)
	exists := err == nil && len(old) >= 4
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("efivarfs: %s: %w", name, err)
	case !exists && len(data) == 0:
		return nil
	case exists && len(data) == 0:
		// Deleting needs no attributes; what counts is those it has.
		attributes = binary.LittleEndian.Uint32(old)
	case exists && binary.LittleEndian.Uint32(old) != attributes:
		return fmt.Errorf("efivarfs: %s: %w: %#x, want %#x", name, ErrExists, binary.LittleEndian.Uint32(old), attributes)
	case exists && string(old[4:]) == string(data):
		return nil
	}
	if err := Writable(attributes); err != nil {
		return fmt.Errorf("efivarfs: %s: %w", name, err)
	}
	// A write that firmware refused can leave an empty file behind, which is
	// immutable like any other.
	if err := change(path, err == nil, attributes, data); err != nil {
		return fmt.Errorf("efivarfs: %s: %w", name, err)
	}
	return nil
}

// change does one write(2), which is one SetVariable. Files of variables that
// the kernel does not know to be harmless are immutable; the flag is put back.
func change(path string, exists bool, attributes uint32, data []byte) (err error) {
	if exists {
		f, oerr := os.Open(path)
		if oerr != nil {
			return oerr
		}
		defer f.Close()
		was, ierr := unix.Immutable(f, false)
		if ierr != nil {
			return ierr
		}
		deleted := false
		defer func() {
			if was && !deleted {
				_, ierr := unix.Immutable(f, true)
				err = errors.Join(err, ierr)
			}
		}()
		if len(data) == 0 {
			err = os.Remove(path)
			deleted = err == nil
			return err
		}
	}
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.LittleEndian.AppendUint32(nil, attributes), data...))
	return errors.Join(err, w.Close())
}
