// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/parser"
)

func (a *app) parserInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "List the programs in a container, an object, or an image's .bpf section",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := peel.OpenPart(args[0], 0)
			if err != nil {
				return err
			}
			defer p.Close()
			in, err := parser.Inspect(p.Data)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if a.json {
				return printJSON(a.out, in)
			}
			writePrograms(a.out, in, "")
			return nil
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func writePrograms(w io.Writer, in *parser.Inspection, lead string) {
	signed := "not signed"
	if in.Signed {
		signed = fmt.Sprintf("signed, %d bytes of PKCS#7 (not verified here)", in.SignatureSize)
	}
	fmt.Fprintf(w, "%s%s, %s\n", lead, in.Form, signed)
	for _, p := range in.Programs {
		fmt.Fprintf(w, "%s  %s %s, %s, sha256 %s\n", lead, p.Section, oneLine(p.Name), size(uint64(p.Size)), p.SHA256)
		if p.Err != "" {
			fmt.Fprintf(w, "%s    unusable: %s\n", lead, oneLine(p.Err))
			continue
		}
		fmt.Fprintf(w, "%s    %s, ABI %s, licence %s, %d instructions, attaches to %s\n", lead,
			p.Format, p.Generation, oneLine(p.License), p.Instructions, oneLine(p.AttachTo))
		fmt.Fprintf(w, "%s    calls %s\n", lead, oneLine(strings.Join(p.Kfuncs, " ")))
		for _, m := range p.Maps {
			mode := ""
			if m.ReadOnly {
				mode = ", read only"
			}
			fmt.Fprintf(w, "%s    map %s: %s of %s%s\n", lead, oneLine(m.Name), m.Type, size(uint64(m.Size)), mode)
		}
	}
	if in.Nested != nil {
		fmt.Fprintf(w, "%s  for the next layer:\n", lead)
		writePrograms(w, in.Nested, lead+"    ")
	}
}

// ran is what run says in JSON.
type ran struct {
	Layers   []parser.LayerReport `json:"layers"`
	Commands []parser.Command     `json:"commands,omitempty"`
	Error    string               `json:"error,omitempty"`
}

func (a *app) parserRunCommand() *cobra.Command {
	var judge judgeFlags
	var trace bool
	var profile string
	cmd := &cobra.Command{
		Use:   "run [FILE] IMAGE",
		Short: "Run a parser program on an image and tell what it did",
		Long: `Take IMAGE apart with the programs in FILE (a container or one object) before the stock programs, and
print which program took which layer apart. Without FILE only the stock programs run. --trace prints every
command with sizes and digests. Nothing is loaded or written.`,
		Example: "  peel parser run uki.bpf linux.efi --trace --policy warn\n  peel parser run vmlinuz.efi --trace",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.machine()
			if err != nil {
				return err
			}
			v, err := judge.verifier(a, m)
			if err != nil {
				return err
			}
			o := peel.Options{Verifier: v, Beside: true, Profile: profile, Logger: a.logger()}
			if len(args) == 2 {
				p, err := peel.OpenPart(args[0], 0)
				if err != nil {
					return err
				}
				defer p.Close()
				o.Programs = p.Data
			}
			var out ran
			if trace || a.json {
				o.Trace = func(c parser.Command) {
					out.Commands = append(out.Commands, c)
					if !a.json {
						fmt.Fprintln(a.out, oneLine(c.String()))
					}
				}
			}
			im, err := peel.Open(args[len(args)-1], o)
			if err != nil {
				return err
			}
			defer im.Close()
			d, err := im.Decompose(cmd.Context())
			if err == nil {
				defer d.Close()
				out.Layers = d.Layers
			} else {
				out.Error = err.Error()
			}
			if a.json {
				if perr := printJSON(a.out, out); perr != nil {
					return perr
				}
				if err != nil {
					return toldError{err}
				}
				return nil
			}
			for _, l := range out.Layers {
				program := fmt.Sprintf("%s (%s, ABI %s), %d commands", l.Program, l.Source, l.Generation, l.Commands)
				fmt.Fprintf(a.out, "%-28s %-10s %10s  %s\n", oneLine(l.Origin), l.Kind, size(l.Size), oneLine(program))
			}
			return err
		},
	}
	a.jsonFlag(cmd)
	judge.add(cmd)
	cmd.Flags().BoolVar(&trace, "trace", false, "print each command with sizes and digests")
	cmd.Flags().StringVar(&profile, "profile", "", "take the `PROFILE` with this number or ID")
	return cmd
}
