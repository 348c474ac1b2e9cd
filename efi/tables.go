// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/peelboot/peel/efi/firmware"
)

// Tables are those of a machine's firmware that an image may look at, as
// copies: the image cannot change the machine's own, and the next kernel gets
// those.
type Tables struct {
	// SMBIOS has no Entry when there is none.
	SMBIOS firmware.SMBIOS
	// ACPI are the tables below RSDT or XSDT, with DSDT and FACS.
	ACPI [][]byte
	// Notes tell what is missing and why, for people.
	Notes []string
}

// Limits of what is read, in bytes and tables.
const (
	maxTable  = 16 << 20
	maxTables = 512
)

// ReadTables reads the tables of the machine whose root directory is given:
// sys/firmware/dmi/tables and sys/firmware/acpi/tables (kernel,
// Documentation/ABI/testing/sysfs-firmware-dmi-tables and
// sysfs-firmware-acpi). Only root may read them on most machines; what is there
// and cannot be read is left out, and Notes say so.
func ReadTables(root fs.FS) Tables {
	var t Tables
	const dmi, acpi = "sys/firmware/dmi/tables", "sys/firmware/acpi/tables"
	entry, err1 := readTable(root, dmi+"/smbios_entry_point")
	structures, err2 := readTable(root, dmi+"/DMI")
	switch err := errors.Join(err1, err2); {
	case err == nil:
		t.SMBIOS = firmware.SMBIOS{Entry: entry, Structures: structures}
	case !errors.Is(err1, fs.ErrNotExist):
		t.Notes = append(t.Notes, "the image finds no SMBIOS: "+reason(err))
	}
	list, err := readACPI(root, acpi)
	switch {
	case err == nil:
		t.ACPI = list
	case !errors.Is(err, fs.ErrNotExist):
		t.Notes = append(t.Notes, "the image finds no ACPI tables: "+reason(err))
	}
	return t
}

// reason shortens an error to one line.
func reason(err error) string {
	var p *fs.PathError
	if errors.Is(err, fs.ErrPermission) && errors.As(err, &p) {
		return fmt.Sprintf("/%s: %v", p.Path, fs.ErrPermission)
	}
	return err.Error()
}

func readACPI(root fs.FS, dir string) ([][]byte, error) {
	entries, err := fs.ReadDir(root, dir)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return byNumber(a.Name(), b.Name()) })
	var out [][]byte
	total := 0
	for _, e := range entries {
		// The directories hold what tables refer to, and what was loaded
		// later.
		if e.IsDir() {
			continue
		}
		b, err := readTable(root, dir+"/"+e.Name())
		if err != nil {
			return nil, err
		}
		if total += len(b); total > maxTable || len(out) >= maxTables {
			return nil, fmt.Errorf("more than %d tables or %d bytes", maxTables, maxTable)
		}
		out = append(out, b)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("/%s is empty", dir)
	}
	return out, nil
}

// byNumber sorts SSDT2 before SSDT10: tables of one name are numbered in the
// order in which firmware lists them, and a later one may build on earlier.
func byNumber(a, b string) int {
	if len(a) >= 4 && len(b) >= 4 && a[:4] == b[:4] && len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func readTable(root fs.FS, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTable+1))
	if err == nil && len(b) > maxTable {
		err = fmt.Errorf("/%s has more than %d bytes", name, maxTable)
	}
	return b, err
}
