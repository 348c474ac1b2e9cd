// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/esl"
	"github.com/peelboot/peel/trust/sbat"
)

// EFIVarsDir is where Linux shows the firmware's variables.
const EFIVarsDir = "/sys/firmware/efi/efivars"

// maxFile is the most bytes of one key file or variable.
const maxFile = 4 << 20

// ErrUnreadable: a list is there and cannot be read. A deny list that cannot
// be read must stop a decision.
var ErrUnreadable = errors.New("key list cannot be read")

// Firmware is what firmware and shim know about keys.
type Firmware struct {
	// Dir is where the variables were read.
	Dir string
	// SecureBoot, SetupMode, ShimRetainProtocol and MokInsecure (shim's
	// MokSBStateRT: validation switched off) are nil when the machine does
	// not have the variable.
	SecureBoot, SetupMode, ShimRetainProtocol, MokInsecure *bool
	// PK and KEK authorise changes of the lists, not images.
	PK, KEK trust.List
	// DB, MokList allow; DBX, MokListX deny; DBT vouches for time stamps.
	DB, DBX, DBT, MokList, MokListX trust.List
	// SBAT is shim's revocation level, SBATSource the variable it is from.
	SBAT       sbat.Level
	SBATSource string
	// Missing names variables that are not there.
	Missing []string
}

// variable describes one that Firmware reads.
type variable struct {
	name, vendor string
	list         func(*Firmware) *trust.List
	scope        trust.Scope
	flag         func(*Firmware) **bool
}

func variables() []variable {
	list := func(n, vendor string, scope trust.Scope, f func(*Firmware) *trust.List) variable {
		return variable{name: n, vendor: vendor, scope: scope, list: f}
	}
	flag := func(n, vendor string, f func(*Firmware) **bool) variable {
		return variable{name: n, vendor: vendor, flag: f}
	}
	return []variable{
		list("PK", esl.GlobalVariable, trust.ScopeFirmware, func(f *Firmware) *trust.List { return &f.PK }),
		list("KEK", esl.GlobalVariable, trust.ScopeFirmware, func(f *Firmware) *trust.List { return &f.KEK }),
		list("db", esl.ImageSecurityDatabase, trust.ScopeFirmware, func(f *Firmware) *trust.List { return &f.DB }),
		list("dbx", esl.ImageSecurityDatabase, trust.ScopeFirmware, func(f *Firmware) *trust.List { return &f.DBX }),
		list("dbt", esl.ImageSecurityDatabase, trust.ScopeFirmware, func(f *Firmware) *trust.List { return &f.DBT }),
		list("MokListRT", esl.ShimLock, trust.ScopeShim, func(f *Firmware) *trust.List { return &f.MokList }),
		list("MokListXRT", esl.ShimLock, trust.ScopeShim, func(f *Firmware) *trust.List { return &f.MokListX }),
		flag("SecureBoot", esl.GlobalVariable, func(f *Firmware) **bool { return &f.SecureBoot }),
		flag("SetupMode", esl.GlobalVariable, func(f *Firmware) **bool { return &f.SetupMode }),
		flag("MokSBStateRT", esl.ShimLock, func(f *Firmware) **bool { return &f.MokInsecure }),
		flag("ShimRetainProtocol", esl.ShimLock, func(f *Firmware) **bool { return &f.ShimRetainProtocol }),
	}
}

// extensions are the forms a variable may have in a directory that is not
// efivarfs.
func extensions() []string { return []string{".esl", ".auth", ".der", ".cer", ".crt", ".pem", ".bin"} }

// ReadFirmware reads the variables from dir: efivarfs itself, a copy of it, a
// directory of files such as db.esl, dbx.auth or KEK.der, or a mixture.
// Variables that are not there are listed in Missing; one that is there and
// cannot be read is an error that wraps ErrUnreadable.
func ReadFirmware(dir string) (*Firmware, error) {
	f := &Firmware{Dir: dir}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("firmware variables: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("firmware variables: %s is not a directory: %w", dir, ErrUnreadable)
	}
	for _, v := range variables() {
		path, data, err := findVariable(dir, v)
		if err != nil {
			return nil, err
		}
		if path == "" {
			f.Missing = append(f.Missing, v.name)
			continue
		}
		if v.flag != nil {
			if len(data) != 1 {
				return nil, fmt.Errorf("%s: %d bytes, want 1: %w", path, len(data), ErrUnreadable)
			}
			on := data[0] != 0
			*v.flag(f) = &on
			continue
		}
		l := v.list(f)
		*l = trust.List{Name: v.name, Scope: v.scope}
		if err := addTo(l, data); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
		}
	}
	return f, f.readSBAT(dir)
}

func (f *Firmware) readSBAT(dir string) error {
	v := variable{name: "SbatLevelRT", vendor: esl.ShimLock}
	path, data, err := findVariable(dir, v)
	if err != nil {
		return err
	}
	if path == "" {
		for _, n := range []string{"SbatLevelRT.csv", "SbatLevelRT.txt"} {
			if data, err = readFile(filepath.Join(dir, n)); err == nil {
				path = filepath.Join(dir, n)
				break
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if path == "" {
		f.Missing = append(f.Missing, v.name)
		return nil
	}
	if f.SBAT, err = sbat.ParseLevel(data); err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
	}
	f.SBATSource = "SbatLevelRT"
	return nil
}

// findVariable returns the contents of v without efivarfs's attributes, and
// an empty path when dir has no such file.
func findVariable(dir string, v variable) (string, []byte, error) {
	path := filepath.Join(dir, v.name+"-"+v.vendor)
	b, err := readFile(path)
	if err == nil {
		ev, err := esl.ParseVariable(b)
		if err != nil {
			return "", nil, fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
		}
		return path, ev.Data, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	for _, ext := range extensions() {
		path := filepath.Join(dir, v.name+ext)
		b, err := readFile(path)
		if err == nil {
			return path, b, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, err
		}
	}
	return "", nil, nil
}

// addTo adds the contents of a key file to l: an .auth update, signature
// lists, or certificates.
func addTo(l *trust.List, b []byte) error {
	if esl.IsAuth(b) {
		u, err := esl.ParseAuth(b)
		if err != nil {
			return err
		}
		b = u.Contents
	}
	entries, err := esl.Parse(b)
	if err == nil {
		l.AddSignatures(entries)
		return nil
	}
	certs, cerr := trust.ParseCertificates(b)
	if cerr != nil {
		return errors.Join(err, cerr)
	}
	l.Certificates = append(l.Certificates, certs...)
	return nil
}

// readFile reads at most maxFile bytes of a regular file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %w", path, ErrUnreadable)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: more than 0x%x bytes: %w", path, maxFile, ErrUnreadable)
	}
	return b, nil
}

// Keys returns the lists by their use. Lists without entries are left out.
func (f *Firmware) Keys() trust.Keys {
	var k trust.Keys
	add := func(to *[]trust.List, ls ...trust.List) {
		for _, l := range ls {
			if l.Len() > 0 {
				*to = append(*to, l)
			}
		}
	}
	add(&k.Deny, f.DBX, f.MokListX)
	add(&k.Allow, f.DB, f.MokList)
	add(&k.Timestamp, f.DBT)
	return k
}

// Enforces reports whether this firmware refuses unsigned images: Secure Boot
// is on and setup mode is not.
func (f *Firmware) Enforces() bool {
	return f.SecureBoot != nil && *f.SecureBoot && (f.SetupMode == nil || !*f.SetupMode)
}

// Summary says in one sentence what this machine would do with an image that
// nobody signed.
func (f *Firmware) Summary() string {
	switch {
	case f.SecureBoot == nil:
		return "the machine has no SecureBoot variable: its firmware checks no signatures"
	case f.SetupMode != nil && *f.SetupMode:
		return "the firmware is in setup mode and checks no signatures"
	case !*f.SecureBoot:
		return "Secure Boot is off: the firmware starts any image"
	case f.MokInsecure != nil && *f.MokInsecure:
		return "Secure Boot is on, but shim's own checks are switched off (MokSBState)"
	}
	return "Secure Boot is on: firmware and shim refuse images that their lists do not allow"
}

// isKeyFile reports whether a directory entry is a file of keys by its name.
func isKeyFile(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	ext := strings.ToLower(filepath.Ext(name))
	for _, e := range extensions() {
		if ext == e && e != ".bin" {
			return true
		}
	}
	return false
}
