// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/sbat"
)

// Options say which lists take part.
type Options struct {
	// Root is the directory under which the machine's own files are found:
	// "/" for this machine, else a recorded one.
	Root string
	// FirmwareDir replaces Root's efivarfs; a directory of .esl, .auth and
	// .der files will do.
	FirmwareDir string
	// Certs are the operator's --cert files, Keyrings its --keyring
	// directories. They come before everything else that allows.
	Certs, Keyrings []string
	// Operator adds Root's /etc/peel/keys.d and revoked.d.
	Operator bool
	// Machine adds firmware, shim and kernel lists and the SBAT level.
	Machine bool
	// Vendor adds the lists inside installed shims, or inside Shims.
	Vendor bool
	// Shims are shim binaries to use instead of the installed ones.
	Shims []string
	// SBATLevel is a file to use instead of SbatLevelRT.
	SBATLevel string
	// Members is LiveMembers on this machine, nil on a recorded one.
	Members Members
}

// Collection is what Collect found.
type Collection struct {
	Keys trust.Keys
	// Level and LevelSource are the SBAT level and where it was read.
	Level       sbat.Level
	LevelSource string
	// Firmware is nil when the machine has no firmware variables.
	Firmware *Firmware
	Kernel   *Kernel
	// Given tells whether the operator gave any key that allows.
	Given bool
	// Notes tell what was looked for and not found.
	Notes []string
}

// Collect reads all lists that o asks for, operator's before machine's. A
// list that does not exist is noted; one that exists and cannot be read is
// an error. Deny lists of the operator take part always, whatever o says:
// nobody means to leave a revocation out.
func Collect(o Options) (*Collection, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	c := &Collection{}
	for _, p := range o.Certs {
		l, err := ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("--cert: %w", err)
		}
		l.Name = "--cert " + p
		c.Keys.Allow = append(c.Keys.Allow, l)
	}
	for _, d := range o.Keyrings {
		if _, err := os.Stat(d); err != nil {
			return nil, fmt.Errorf("--keyring: %w: %w", ErrUnreadable, err)
		}
		ls, err := ReadDir(d)
		if err != nil {
			return nil, fmt.Errorf("--keyring: %w", err)
		}
		c.Keys.Allow = append(c.Keys.Allow, ls...)
	}
	if o.Operator {
		ls, err := ReadDir(filepath.Join(o.Root, KeysDir))
		if err != nil {
			return nil, err
		}
		c.Keys.Allow = append(c.Keys.Allow, ls...)
	}
	c.Given = len(c.Keys.Allow) > 0
	deny, err := ReadDir(filepath.Join(o.Root, RevokedDir))
	if err != nil {
		return nil, err
	}
	c.Keys.Deny = append(c.Keys.Deny, deny...)
	if o.Machine {
		if err := c.machine(o); err != nil {
			return nil, err
		}
	}
	if o.Vendor {
		if err := c.vendor(o); err != nil {
			return nil, err
		}
	}
	if o.SBATLevel != "" {
		b, err := readFile(o.SBATLevel)
		if err == nil {
			c.Level, err = sbat.ParseLevel(b)
		}
		if err != nil {
			return nil, fmt.Errorf("SBAT level: %w", err)
		}
		c.LevelSource = o.SBATLevel
	}
	return c, nil
}

func (c *Collection) machine(o Options) error {
	dir := o.FirmwareDir
	if dir == "" {
		dir = filepath.Join(o.Root, EFIVarsDir)
	}
	f, err := ReadFirmware(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.FirmwareDir == "":
		c.Notes = append(c.Notes, "no firmware variables: "+dir+" does not exist")
	case err != nil:
		return err
	default:
		c.Firmware = f
		k := f.Keys()
		c.Keys.Deny = append(c.Keys.Deny, k.Deny...)
		c.Keys.Allow = append(c.Keys.Allow, k.Allow...)
		c.Keys.Timestamp = append(c.Keys.Timestamp, k.Timestamp...)
		c.Level, c.LevelSource = f.SBAT, f.SBATSource
		c.noteUnusable(f)
	}
	if c.Kernel, err = ReadKernel(o.Root, o.Members); err != nil {
		return err
	}
	if c.Kernel.Deny.Len() > 0 {
		c.Keys.Deny = append(c.Keys.Deny, c.Kernel.Deny)
	}
	return nil
}

// noteUnusable tells of entries of firmware lists that peel cannot apply.
func (c *Collection) noteUnusable(f *Firmware) {
	for _, l := range []*trust.List{&f.DB, &f.DBX, &f.MokList, &f.MokListX} {
		if l.Unknown > 0 {
			c.Notes = append(c.Notes, fmt.Sprintf("%s has %d entries of types that peel does not apply", l.Name, l.Unknown))
		}
		if len(l.Unreadable) > 0 {
			c.Notes = append(c.Notes, fmt.Sprintf("%s has %d certificates that cannot be read; they match only byte for byte", l.Name, len(l.Unreadable)))
		}
	}
}

func (c *Collection) vendor(o Options) error {
	shims := o.Shims
	if len(shims) == 0 {
		shims = FindShims(o.Root)
	}
	if len(shims) == 0 {
		c.Notes = append(c.Notes, "no installed shim was found")
	}
	for _, p := range shims {
		b, err := readFile(p)
		if err != nil {
			return err
		}
		allow, deny, err := ReadShim(p, b)
		if err != nil {
			return err
		}
		if deny.Len() > 0 {
			c.Keys.Deny = append(c.Keys.Deny, deny)
		}
		if allow.Len() > 0 {
			c.Keys.Allow = append(c.Keys.Allow, allow)
		}
	}
	return nil
}

// Verifier returns a verifier with the collected lists. An empty SBAT source
// means that there is no level.
func (c *Collection) Verifier(p trust.Policy) *trust.Verifier {
	return &trust.Verifier{Keys: c.Keys, Policy: p, Level: c.Level, LevelSource: c.LevelSource}
}
