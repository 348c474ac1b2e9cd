// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/site"
	"github.com/peelboot/peel/trust"
)

func (a *app) verifyCommand() *cobra.Command {
	var judge judgeFlags
	var show bool
	cmd := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Say who signed an image and whether it may boot",
		Long: `Judge an image: who signed it, which list has the signer, and what follows from
the policy in force. Without --policy the mode is enforce when Secure Boot is on, when the
kernel is locked down or when keys were given, and warn otherwise.

Exit status 0: it may boot. 3: refused. 1: it is no image, or broken.`,
		Example: `  peel verify linux.efi --cert db.pem
  peel verify vmlinuz --policy firmware        # would this machine's firmware boot it?
  peel verify --show-policy                    # the rules in force and where they come from`,
		GroupID: "look",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 && !show {
				return usagef("verify: IMAGE is missing")
			}
			m, err := a.machine()
			if err != nil {
				return err
			}
			rules, err := judge.rules(a, m)
			if err != nil {
				return err
			}
			v := rules.Verifier
			if show {
				if err := a.showPolicy(v); err != nil || len(args) == 0 {
					return err
				}
			}
			im, err := peel.Open(args[0], peel.Options{Verifier: v, Beside: true, Logger: a.logger()})
			if err != nil {
				return err
			}
			defer im.Close()
			r, err := im.Verify()
			if r == nil {
				return err
			}
			if a.json {
				if perr := printJSON(a.out, r); perr != nil {
					return perr
				}
			} else {
				writeReport(a.out, r)
				writeNotes(a.out, &judge, rules)
			}
			if err != nil {
				return toldError{err}
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	judge.add(cmd)
	cmd.Flags().BoolVar(&show, "show-policy", false, "print the policy in force, each value with its origin")
	return cmd
}

func (a *app) showPolicy(v *trust.Verifier) error {
	if a.json {
		return printJSON(a.out, v.Policy.Settings())
	}
	for _, s := range v.Policy.Settings() {
		fmt.Fprintf(a.out, "%-22s %-52s %s\n", s.Key, oneLine(s.Value), s.Origin)
	}
	return nil
}

// writeReport prints a report for people: the verdict first, then each layer
// with the reason.
func writeReport(w io.Writer, r *trust.Report) {
	fmt.Fprintf(w, "%s: %s\n", strings.ToUpper(string(r.Verdict)), oneLine(r.Reason))
	fmt.Fprintf(w, "policy %s, because %s\n", r.Mode, oneLine(r.ModeOrigin))
	for i := range r.Layers {
		l := &r.Layers[i]
		fmt.Fprintf(w, "\n%s  (%s, %s)\n", oneLine(l.Name), l.Role, size(l.Size))
		line := func(name, value string) {
			if value != "" {
				fmt.Fprintf(w, "   %-10s %s\n", name, oneLine(value))
			}
		}
		line("verdict", strings.ReplaceAll(string(l.Verdict), "_", " ")+": "+l.Reason)
		if l.SHA256 != "" {
			line("digest", l.SHA256+" ("+l.DigestKind+" sha256)")
		}
		line("signer", l.Signer)
		line("chain", strings.Join(l.Chain, " ← "))
		line("list", l.List)
		for _, s := range l.Signatures {
			line(fmt.Sprintf("sig %d", s.Index), fmt.Sprintf("%s %s: %s", s.Kind, s.Algorithm, s.Reason))
		}
		for _, n := range l.Notes {
			line("note", n)
		}
	}
}

// writeNotes says what a person should know about where the rules come from.
func writeNotes(w io.Writer, f *judgeFlags, r *site.Rules) {
	if f.policy != "firmware" {
		return
	}
	fmt.Fprintln(w)
	if r.Firmware != nil {
		fmt.Fprintf(w, "note: %s\n", oneLine(r.Firmware.Summary()))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", oneLine(n))
	}
}

// warnReport tells on standard error what boots although nothing vouches for
// it.
func warnReport(w io.Writer, r *trust.Report) {
	if r == nil || r.Mode == trust.Enforce {
		return
	}
	if r.Mode == trust.Off {
		fmt.Fprintf(w, "peel: warning: nothing is verified: %s\n", oneLine(r.Reason))
		return
	}
	for i := range r.Layers {
		if l := &r.Layers[i]; l.Verdict == trust.Unverified {
			fmt.Fprintf(w, "peel: warning: %s is not verified: %s\n", oneLine(l.Name), oneLine(l.Reason))
		}
	}
}
