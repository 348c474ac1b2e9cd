// SPDX-License-Identifier: Apache-2.0

// Command bpfexec runs raw eBPF instructions in peel's machine and prints R0
// in hexadecimal. It is the plug-in for outside conformance suites:
//
//	bpfexec --program HEX [--memory HEX]
//	bpfexec [MEMORY-HEX] < PROGRAM-HEX      (convention of bpf_conformance)
//
// HEX is pairs of digits; white space between them is ignored. The program
// gets the address of the memory in R1 and its length in R2. The exit status
// is 1, with the reason on standard error, when the program is refused or
// fails.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/peelboot/peel/bpf"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bpfexec:", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("bpfexec", flag.ContinueOnError)
	program := flags.String("program", "", "instructions in hex; standard input if not given")
	memory := flags.String("memory", "", "memory in hex")
	limit := flags.Duration("time", 10*time.Second, "most wall time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *memory == "" {
		*memory = flags.Arg(0)
	}
	if *program == "" {
		b, err := io.ReadAll(io.LimitReader(stdin, 4*bpf.MaxInstructions*8))
		if err != nil {
			return err
		}
		*program = string(b)
	}
	code, err := unhex(*program)
	if err != nil {
		return fmt.Errorf("program: %w", err)
	}
	mem, err := unhex(*memory)
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	if len(code) == 0 {
		return errors.New("no program")
	}
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	r0, err := bpf.RunRaw(ctx, code, mem, bpf.Budget{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%x\n", r0)
	return err
}

func unhex(s string) ([]byte, error) {
	return hex.DecodeString(strings.Join(strings.Fields(s), ""))
}
