// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/trust"
)

// Exit statuses, as documented in the manual.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3 // the policy in force says no
	exitCannot  = 4 // this machine cannot: no kexec, no permission, wrong architecture
)

// app carries what every verb needs: where to print and how much.
type app struct {
	in      io.Reader
	out     io.Writer
	err     io.Writer
	json    bool
	verbose bool
	root    string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it, so that tests can call it.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, err: errw, root: "/"}
	cmd := a.command()
	cmd.SetArgs(args)
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(errw)
	ctx, end := withEnds(ctx)
	err := cmd.ExecuteContext(ctx)
	if e := end(); err == nil {
		err = e
	}
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	var told toldError
	if !errors.As(err, &told) {
		fmt.Fprintf(errw, "peel: %v\n", err)
	}
	var status statusError
	if code == exitUsage && !errors.As(err, &status) {
		fmt.Fprintln(errw, "Try 'peel --help'.")
	}
	return code
}

// usageError marks a wrong call, exit status 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// toldError carries an exit status for something the verb has printed
// already, so that run does not print it again.
type toldError struct{ err error }

func (e toldError) Error() string { return e.err.Error() }
func (e toldError) Unwrap() error { return e.err }

// statusError carries the exit status of a verb that has its own.
type statusError struct {
	code int
	err  error
}

func (e statusError) Error() string { return e.err.Error() }
func (e statusError) Unwrap() error { return e.err }

func exitCode(err error) int {
	var usage usageError
	var status statusError
	switch {
	case errors.As(err, &status):
		return status.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, trust.ErrRefused):
		return exitRefused
	case errors.Is(err, kexec.ErrUnsupported), errors.Is(err, kexec.ErrNotPermitted), errors.Is(err, peel.ErrArch),
		errors.Is(err, efi.ErrUnsupported), errors.Is(err, efi.ErrMachine):
		return exitCannot
	}
	return exitFailed
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "peel",
		Short: "Verify a UEFI boot image, take it apart, and kexec the kernel inside",
		Long: `peel boots the kernels that UEFI boots, from a running Linux, through kexec.

It reads an image once, checks who signed it, takes it apart layer by layer
and hands the kernel inside, with the image's own initrd and command line, to
kexec. It opens unified kernel images (UKI), EFI zboot kernels (vmlinuz.efi),
bzImage, arm64 and riscv64 Image, and any of these inside another.

A first session:

  peel inspect linux.efi                     what is in it?
  peel verify  linux.efi --cert db.pem       who signed it, and may it boot?
  peel load    linux.efi --cert db.pem       load it
  peel status                                what is loaded?
  peel exec                                  start it: no firmware, no boot menu

Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused by policy, 4 this
machine cannot (no kexec, no permission).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "tell each step on standard error")
	root.PersistentFlags().StringVar(&a.root, "root", "/", "read facts about the machine below `DIR` (a recorded machine)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(
		&cobra.Group{ID: "look", Title: "Look at images:"},
		&cobra.Group{ID: "boot", Title: "Boot them:"},
		&cobra.Group{ID: "make", Title: "Make and sign them:"},
		&cobra.Group{ID: "other", Title: "Other:"},
	)
	root.SetHelpCommandGroupID("other")
	root.SetCompletionCommandGroupID("other")
	for _, sub := range a.verbs() {
		sub.Args = usageArgs(sub.Args)
		root.AddCommand(sub)
	}
	root.Args = usageArgs(root.Args)
	return root
}

func (a *app) verbs() []*cobra.Command {
	return []*cobra.Command{
		a.inspectCommand(),
		a.verifyCommand(),
		a.extractCommand(),
		a.diffCommand(),
		a.planCommand(),
		a.loadCommand(),
		a.execCommand(),
		a.unloadCommand(),
		a.statusCommand(),
		a.tryCommand(),
		a.doctorCommand(),
		a.buildCommand(),
		a.editCommand(),
		a.signCommand(),
		a.keygenCommand(),
		a.measureCommand(),
		a.parserCommand(),
		a.versionCommand(),
	}
}

// usageArgs turns a complaint about the number of arguments into a usage
// error.
func usageArgs(f cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if f == nil {
			return nil
		}
		if err := f(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// logger returns where libraries report their steps, nil when nobody asked.
func (a *app) logger() *slog.Logger {
	if !a.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, at slog.Attr) slog.Attr {
			if at.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return at
		},
	}))
}
