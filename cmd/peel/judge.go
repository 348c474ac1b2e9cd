// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/site"
	"github.com/peelboot/peel/trust"
)

// judgeFlags are the flags of every verb that judges an image.
type judgeFlags struct {
	certs     []string
	keyrings  []string
	policy    string
	file      string
	variables string
	sbat      string
}

func (f *judgeFlags) add(cmd *cobra.Command) {
	f.addRules(cmd)
	cmd.Flags().StringVar(&f.variables, "efivars", "", "read firmware key lists from `DIR` instead of the machine's: efivarfs, a copy, or db.esl, dbx.auth, …")
}

// addRules adds all but --efivars, which means more to some verbs.
func (f *judgeFlags) addRules(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringArrayVar(&f.certs, "cert", nil, "accept what this certificate or CA in `FILE` signed (PEM or DER; repeatable)")
	fs.StringArrayVar(&f.keyrings, "keyring", nil, "accept what keys in `DIR` signed (repeatable)")
	fs.StringVar(&f.policy, "policy", "", "`MODE`: enforce, warn, off, or firmware: what this machine's firmware and shim would say (default by the machine's state)")
	fs.StringVar(&f.file, "policy-file", "", "read rules from `FILE` instead of /etc/peel/policy.toml")
	fs.StringVar(&f.sbat, "sbat-level", "", "take the SBAT revocation level from `FILE`")
}

// verifier puts rules and keys together.
func (f *judgeFlags) verifier(a *app, m *machine.Machine) (*trust.Verifier, error) {
	r, err := f.rules(a, m)
	if err != nil {
		return nil, err
	}
	return r.Verifier, nil
}

func (f *judgeFlags) rules(a *app, m *machine.Machine) (*site.Rules, error) {
	r := site.Request{
		Root: a.root, Machine: m, Mode: f.policy, Variables: f.variables,
		Certs: f.certs, Keyrings: f.keyrings, PolicyFile: f.file, SBATLevel: f.sbat,
	}
	switch f.policy {
	case "", "enforce", "warn", "off":
	case "firmware":
		r.Mode, r.Firmware = "", true
	default:
		return nil, usagef("--policy %q, want enforce, warn, off or firmware", f.policy)
	}
	return r.Rules()
}

// machine takes the snapshot of the machine, once per call.
func (a *app) machine() (*machine.Machine, error) { return machine.Read(a.root) }
