// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/bpf"
)

func (a *app) parserCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "parser",
		Short:   "Work with parser programs",
		GroupID: "other",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, sub := range []*cobra.Command{a.parserInspectCommand(), a.parserRunCommand(), a.parserExecCommand()} {
		sub.Args = usageArgs(sub.Args)
		cmd.AddCommand(sub)
	}
	return cmd
}

func (a *app) parserExecCommand() *cobra.Command {
	var program, memory string
	cmd := &cobra.Command{
		Use:   "exec --hex PROGRAM [--memory HEX]",
		Short: "Run raw BPF instructions and print R0",
		Long: `Run BPF instructions, given as hexadecimal bytes, in the machine that runs parser programs. R1 points
to a copy of the memory and R2 holds its size; without memory both are 0. R0 is printed in hexadecimal when
the program exits. A program that is refused or fails prints nothing but the reason, on standard error.`,
		Example: "  peel parser exec --hex b700000005000000 9500000000000000\n" +
			"  peel parser exec --hex - --memory '01 02 03 04' < program.txt",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if program == "-" {
				b, err := io.ReadAll(io.LimitReader(a.in, 4*8*bpf.MaxInstructions))
				if err != nil {
					return fmt.Errorf("standard input: %w", err)
				}
				program = string(b)
			}
			code, err := unhex(strings.Join(append([]string{program}, args...), ""))
			if err != nil {
				return usagef("--hex: %w", err)
			}
			mem, err := unhex(memory)
			if err != nil {
				return usagef("--memory: %w", err)
			}
			r0, err := bpf.RunRaw(cmd.Context(), code, mem, bpf.Budget{})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "0x%x\n", r0)
			return err
		},
	}
	cmd.Flags().StringVar(&program, "hex", "", "the instructions as hexadecimal `BYTES`, spaces allowed; - reads standard input")
	cmd.Flags().StringVar(&memory, "memory", "", "the memory as hexadecimal `BYTES`")
	return cmd
}

// unhex reads hexadecimal bytes with white space between them and perhaps 0x
// before them.
func unhex(s string) ([]byte, error) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "0x")
	return hex.DecodeString(strings.Join(strings.Fields(s), ""))
}
