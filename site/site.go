// SPDX-License-Identifier: Apache-2.0

package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/keyring"
)

// Request is what one call asks for.
type Request struct {
	// Root is where the machine's files are: "/" or a recorded machine.
	Root string
	// Machine is the snapshot of that machine.
	Machine *machine.Machine
	// Mode is "enforce", "warn" or "off", or empty for the default by the
	// policy file and the machine's state.
	Mode string
	// Firmware asks for the rules and lists of firmware and shim instead
	// of the operator's.
	Firmware bool
	// Variables is a directory of firmware variables to use instead of the
	// machine's: efivarfs or a copy, or files such as db.esl.
	Variables string
	// Certs are files of certificates, lists or digests that allow.
	Certs []string
	// Keyrings are directories of such files.
	Keyrings []string
	// PolicyFile replaces the operator's policy file when not empty.
	PolicyFile string
	// SBATLevel is a file with the revocation level to use instead of the
	// machine's, in the format of the SbatLevel variable.
	SBATLevel string
}

// Rules are what holds at one place for one call.
type Rules struct {
	Verifier *trust.Verifier
	// Notes tell what was looked for and not found, or found and not used.
	Notes []string
	// Firmware is what firmware and shim know, nil when there are no
	// variables; Kernel what can be seen of the kernel's keyrings.
	Firmware *keyring.Firmware
	Kernel   *keyring.Kernel
}

// Rules collects rules and lists. It fails when anything that the request
// names cannot be read, and when a list that the machine has cannot be.
//
// The deny lists of the machine always count. Its allow lists count where the
// policy says so, where nobody gave a key, and where the request names a
// directory of variables.
func (r Request) Rules() (*Rules, error) {
	p := trust.DefaultPolicy()
	if r.Firmware {
		p = trust.FirmwarePolicy()
	}
	if err := r.policy(&p); err != nil {
		return nil, err
	}
	o := keyring.Options{
		Root: r.Root, FirmwareDir: r.Variables, Certs: r.Certs, Keyrings: r.Keyrings,
		Operator: !r.Firmware, Machine: true, Vendor: p.Vendor, SBATLevel: r.SBATLevel,
	}
	if r.Root == "/" {
		o.Members = keyring.LiveMembers
	}
	c, err := keyring.Collect(o)
	if err != nil {
		return nil, err
	}
	if !r.Firmware {
		p.SetDefaultLists(c.Given)
	}
	if err := r.mode(&p, c.Given); err != nil {
		return nil, err
	}
	v := c.Verifier(p)
	if !p.Machine && r.Variables == "" {
		v.Keys.Allow = slices.DeleteFunc(v.Keys.Allow, func(l trust.List) bool {
			return l.Scope != trust.ScopeOperator
		})
	}
	return &Rules{Verifier: v, Notes: c.Notes, Firmware: c.Firmware, Kernel: c.Kernel}, nil
}

// policy applies the policy file, if there is one.
func (r Request) policy(p *trust.Policy) error {
	path := r.PolicyFile
	if path == "" {
		if r.Firmware {
			return nil
		}
		path = filepath.Join(r.Root, keyring.PolicyFile)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && r.PolicyFile == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	return p.Apply(path, text)
}

// mode sets the mode: the call's, else the policy file's, else the default by
// the state of the machine.
func (r Request) mode(p *trust.Policy, keys bool) error {
	if r.Mode != "" {
		m, err := trust.ParseMode(r.Mode)
		if err != nil {
			return err
		}
		p.SetMode(m, "--policy")
		return nil
	}
	if r.Firmware {
		p.SetMode(trust.Enforce, "--policy firmware")
		return nil
	}
	s := trust.State{Keys: keys}
	if m := r.Machine; m != nil {
		s.SecureBoot = m.EFI.SecureBoot.Or(false)
		s.Lockdown = m.Security.Lockdown.Or(machine.LockdownNone).Locked()
	}
	p.SetDefaultMode(s)
	return nil
}
