// SPDX-License-Identifier: Apache-2.0

// Command deps brings the tools and real images that the tests need into the tool cache; see package artefact.
//
//	go run ./internal/cmd/deps [-q] [core] [long]
//
// It prints the directory of the wrappers. Nothing is installed on the machine and no privilege is needed.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/peelboot/peel/internal/testkit/artefact"
)

func main() {
	quiet := flag.Bool("q", false, "print nothing but errors")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: deps [-q] [core] [long]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*quiet, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "deps:", err)
		os.Exit(1)
	}
}

func run(quiet bool, sets []string) error {
	if len(sets) == 0 {
		sets = []string{artefact.Core}
	}
	for _, s := range sets {
		if s != artefact.Core && s != artefact.Long {
			return fmt.Errorf("unknown set %q: want %s or %s", s, artefact.Core, artefact.Long)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := artefact.Open()
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if !quiet {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if _, err := artefact.Install(ctx, c, log, sets...); err != nil {
		return err
	}
	if !quiet {
		fmt.Println(c.Bin())
	}
	return nil
}
