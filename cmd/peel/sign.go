// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/trust/appended"
)

// The formats of peel sign.
const (
	formatPE       = "pe"
	formatAppended = "appended"
	formatDetached = "detached"
	formatIMA      = "ima"
)

func (a *app) signCommand() *cobra.Command {
	var out outputFlags
	var sf signFlags
	var format string
	var replace, strip, inner bool
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign an image, or any file",
		Long: `Sign FILE in one of four formats:

  pe        an Authenticode signature in a PE image, after those it has (--replace: instead of them)
  appended  a signature at the end of the file, as kernel modules and parser containers have it
  detached  a CMS message of its own, FILE.p7s
  ima       an IMA signature of its own, FILE.sig

The default is pe for a PE image and detached for others. --inner signs the kernel inside a unified kernel image or
zboot image first, with the same key; --strip takes signatures off.

The KEY, RSA or ECDSA, is in a file; in a TPM, as a file that only the TPM can open ('peel keygen --tpm' and openssl
with the tpm2 provider make such) or as tpm:HANDLE; in a token or hardware module, as a pkcs11: URI (RFC 7512), for
which the program peel-pkcs11 is needed; or with any program that --signer names.`,
		Example: `  peel sign linux.efi --key db.key --cert db.pem -o linux.signed.efi
  peel sign initrd --key db.key --cert db.pem            # makes initrd.p7s
  peel sign linux.efi --key 'pkcs11:token=site;object=db' --pin-source /run/pin -o linux.signed.efi
  peel sign linux.efi --key tpm:0x81010001 --cert db.pem -o linux.signed.efi
  peel sign linux.efi --strip -o bare.efi`,
		GroupID: "make",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, ok, err := sf.signature()
			if err != nil {
				return err
			}
			if ok == strip {
				return usagef("sign: --key and --cert, or --strip, and not both")
			}
			// A PE image need not be copied: what is signed is the file
			// that is written, read back.
			if whole, err := isPEFile(args[0]); err != nil {
				return err
			} else if whole && (format == "" || format == formatPE) {
				if err := out.check("sign"); err != nil {
					return err
				}
				return a.signPE(cmd, build.File(args[0]), s, ok, out, replace || strip, inner)
			}
			// Everything else is read once: a signature beside or behind a
			// file that changes meanwhile would not be one of what is there.
			m, err := sealed.Open(args[0], build.MaxFile)
			if err != nil {
				return err
			}
			defer m.Close()
			if format == "" {
				format = formatDetached
				if pe.Is(m.Bytes()) {
					format = formatPE
				}
			}
			if format != formatPE && (inner || replace && format != formatAppended || strip && format != formatAppended) {
				return usagef("sign: --inner, --replace and --strip do not go with --format %s", format)
			}
			switch format {
			case formatPE:
				if err := out.check("sign"); err != nil {
					return err
				}
				if err := a.signPE(cmd, build.Bytes(m.Bytes()), s, ok, out, replace || strip, inner); err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				return nil
			case formatAppended:
				if err := out.check("sign"); err != nil {
					return err
				}
				return a.signAppended(m, s, ok, out, replace || strip)
			case formatDetached, formatIMA:
				return a.signBeside(m, args[0], format, s, out)
			}
			return usagef("--format %q, want pe, appended, detached or ima", format)
		},
	}
	a.jsonFlag(cmd)
	out.add(cmd)
	sf.add(cmd, "it")
	fs := cmd.Flags()
	fs.StringVar(&format, "format", "", "the `FORMAT`: pe, appended, detached or ima")
	fs.BoolVar(&replace, "replace", false, "replace the signatures that are there")
	fs.BoolVar(&strip, "strip", false, "take all signatures off")
	fs.BoolVar(&inner, "inner", false, "sign the kernel inside as well")
	return cmd
}

// isPEFile reports whether path is a regular file that begins like a PE image.
// One whose headers begin far inside is not recognised, nor is standard input.
func isPEFile(path string) (bool, error) {
	if path == "-" {
		return false, nil
	}
	// Looked at first: to open a pipe and close it again ends it.
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, err
	}
	return pe.Is(head[:n]), nil
}

func (a *app) signPE(cmd *cobra.Command, image build.Content, s build.Signature, ok bool, out outputFlags, drop, inner bool) error {
	var sigs []build.Signature
	if ok {
		sigs = []build.Signature{s}
	}
	var im *build.Image
	var err error
	if inner {
		im, err = (&build.SignInner{Image: image, Sign: sigs}).Build(cmd.Context())
	} else {
		im, err = (&build.Resign{Image: image, Drop: drop}).Build(cmd.Context())
	}
	if err != nil {
		return err
	}
	defer im.Close()
	return a.writeImage(cmd, im, out.path, build.FileOptions{Replace: out.force, Sign: sigs})
}

func (a *app) signAppended(m *sealed.Memory, s build.Signature, ok bool, out outputFlags, drop bool) error {
	b := m.Bytes()
	if drop {
		old, err := appended.Split(b)
		switch {
		case err == nil:
			b = old.Content
		case !errors.Is(err, appended.ErrNone):
			return err
		}
	}
	if ok {
		var err error
		if b, err = sign.Appended(b, s.Key, sign.AppendedOptions(s.Options.Hash)); err != nil {
			return err
		}
	}
	if err := build.WriteFile(out.path, b, 0o644, out.force); err != nil {
		return err
	}
	return a.tellWritten(out.path)
}

func (a *app) signBeside(m *sealed.Memory, path, format string, s build.Signature, out outputFlags) error {
	var b []byte
	var err error
	end := ".p7s"
	if format == formatDetached {
		b, err = sign.Detached(m.Bytes(), s.Key, s.Options)
	} else {
		end = ".sig"
		h := s.Options.Hash
		b, err = sign.IMA(hashOf(h, m.Bytes()), h, s.Key)
	}
	if err != nil {
		return err
	}
	if out.path == "" {
		out.path = path + end
	}
	if err := build.WriteFile(out.path, b, 0o644, out.force); err != nil {
		return err
	}
	return a.tellWritten(out.path)
}

func hashOf(h crypto.Hash, b []byte) []byte {
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}
