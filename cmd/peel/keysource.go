// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/build/sign/external"
	"github.com/peelboot/peel/build/sign/tpmkey"
	"github.com/peelboot/peel/measure/tpm"
)

// Names of flags about keys outside of files.
const (
	flagPIN    = "pin-source"
	flagSigner = "signer"
	flagTPM    = "tpm"
)

// How a key's name begins that is no file.
const (
	schemePKCS11 = "pkcs11:"
	schemeTPM    = "tpm:"
)

// pkcs11Program signs with PKCS #11 tokens.
const pkcs11Program = "peel-pkcs11"

// maxPIN is the size in bytes of the largest file with a PIN.
const maxPIN = 1 << 10

// sourceFlags adds the flags about keys outside of files, unless the verb has
// them already.
func sourceFlags(fs *pflag.FlagSet) {
	for _, f := range [][2]string{
		{flagPIN, "the PIN or password of a key in a token or TPM is in this `FILE`, or in env:NAME"},
		{flagSigner, "ask `PROGRAM` for keys instead of files (docs/signer-protocol.md)"},
		{flagTPM, "TPM `DEVICE` or socket of TPM keys (default " + tpm.Device + ")"},
	} {
		if fs.Lookup(f[0]) == nil {
			fs.String(f[0], "", f[1])
		}
	}
}

// flagValue returns a flag that sourceFlags added.
func flagValue(cmd *cobra.Command, name string) string {
	if f := cmd.Flags().Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// isOutside tells whether a key of this name may bring its certificate along.
func isOutside(cmd *cobra.Command, name string) bool {
	return flagValue(cmd, flagSigner) != "" || hasScheme(name, schemePKCS11)
}

func hasScheme(name, scheme string) bool {
	return len(name) >= len(scheme) && strings.EqualFold(name[:len(scheme)], scheme)
}

// openSigner is the one place that knows what a key's name means: with
// --signer the program does; pkcs11:… is a key in a token, tpm:HANDLE a
// persistent one in a TPM; anything else is a file, with a key or with one
// that only its TPM can open. The certificates are those that the key's keeper
// knows. What has to be closed is closed when the verb ends.
func openSigner(cmd *cobra.Command, name string) (crypto.Signer, []*x509.Certificate, error) {
	switch program := flagValue(cmd, flagSigner); {
	case program != "":
		return openExternal(cmd, program, name)
	case hasScheme(name, schemePKCS11):
		return openExternal(cmd, besideExecutable(pkcs11Program), name)
	case hasScheme(name, schemeTPM):
		handle, err := strconv.ParseUint(name[len(schemeTPM):], 0, 32)
		if err != nil {
			return nil, nil, usagef("key %q: want %s0x81000000 to %s0x81ffffff, the number of a persistent key", name, schemeTPM, schemeTPM)
		}
		o, err := tpmOptions(cmd)
		if err != nil {
			return nil, nil, err
		}
		k, err := tpmkey.Persistent(uint32(handle), o)
		if err != nil {
			return nil, nil, err
		}
		return k, nil, nil
	}
	b, err := readLimited(name, sign.MaxKeyFile)
	if err != nil {
		return nil, nil, err
	}
	var s crypto.Signer
	if tpmkey.IsFile(b) {
		var o tpmkey.Options
		if o, err = tpmOptions(cmd); err != nil {
			return nil, nil, err
		}
		s, err = tpmkey.Load(b, o)
	} else {
		s, err = sign.ParseKey(b)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil, nil
}

// openPair opens a key with its certificate: that in the file, or the one that
// the key's keeper knows.
func openPair(cmd *cobra.Command, key, cert string) (sign.Key, error) {
	s, certs, err := openSigner(cmd, key)
	if err != nil {
		return sign.Key{}, err
	}
	if cert != "" {
		b, err := readLimited(cert, sign.MaxKeyFile)
		if err != nil {
			return sign.Key{}, err
		}
		if certs, err = sign.ParseCertificates(b); err != nil {
			return sign.Key{}, fmt.Errorf("%s: %w", cert, err)
		}
	}
	if len(certs) == 0 {
		return sign.Key{}, usagef("there is no certificate with the key: name one with --cert")
	}
	k := sign.Key{Signer: s, Certificate: certs[0], Chain: certs[1:]}
	if err := k.Check(); err != nil {
		return sign.Key{}, fmt.Errorf("%s, %s: %w", keyName(key), cert, err)
	}
	return k, nil
}

func openExternal(cmd *cobra.Command, program, name string) (crypto.Signer, []*x509.Certificate, error) {
	pin, err := readPIN(flagValue(cmd, flagPIN))
	if err != nil {
		return nil, nil, err
	}
	s, err := external.Start(cmd.Context(), external.Options{Program: program, Key: name, PIN: string(pin)})
	if errors.Is(err, exec.ErrNotFound) && program == pkcs11Program {
		return nil, nil, fmt.Errorf("keys in PKCS #11 tokens need the program %s, beside peel or in PATH: %w", pkcs11Program, err)
	}
	if err != nil {
		return nil, nil, err
	}
	atEnd(cmd.Context(), s.Close)
	return s, s.Certificates(), nil
}

// besideExecutable returns the path of a program that was installed together
// with this one, else its name, to be found in PATH.
func besideExecutable(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	p := filepath.Join(filepath.Dir(self), name)
	if fi, err := os.Stat(p); err != nil || !fi.Mode().IsRegular() {
		return name
	}
	return p
}

func tpmOptions(cmd *cobra.Command) (o tpmkey.Options, err error) {
	o.Device = flagValue(cmd, flagTPM)
	o.Auth, err = readPIN(flagValue(cmd, flagPIN))
	return o, err
}

// readPIN reads a PIN from a file or a variable; one newline at its end is not
// part of it. An empty one is an error: whoever names a source of a password
// does not want a key without one.
func readPIN(source string) ([]byte, error) {
	if source == "" {
		return nil, nil
	}
	if name, ok := strings.CutPrefix(source, "env:"); ok {
		v, ok := os.LookupEnv(name)
		if !ok {
			return nil, usagef("--%s: %s is not set", flagPIN, name)
		}
		if v == "" {
			return nil, usagef("--%s: %s is empty", flagPIN, name)
		}
		return []byte(v), nil
	}
	b, err := readLimited(strings.TrimPrefix(source, "file:"), maxPIN)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flagPIN, err)
	}
	pin := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if pin == "" {
		return nil, fmt.Errorf("--%s: %s is empty", flagPIN, source)
	}
	return []byte(pin), nil
}

// keyName is a key's name for messages: without the PIN that a URI may hold
// (RFC 7512, section 2.4).
func keyName(name string) string {
	const pin = "pin-value="
	i := strings.Index(name, pin)
	if !hasScheme(name, schemePKCS11) || i < 0 {
		return name
	}
	_, rest, more := strings.Cut(name[i:], "&")
	name = name[:i] + pin + "..."
	if more {
		name += "&" + keyName(schemePKCS11 + rest)[len(schemePKCS11):]
	}
	return name
}

// ends are what has to be done when a verb is over.
type ends struct{ list []func() error }

type endsKey struct{}

// withEnds returns a context for atEnd, and what calls the functions, last
// first.
func withEnds(ctx context.Context) (context.Context, func() error) {
	e := &ends{}
	return context.WithValue(ctx, endsKey{}, e), func() error {
		var errs []error
		for i := len(e.list) - 1; i >= 0; i-- {
			errs = append(errs, e.list[i]())
		}
		return errors.Join(errs...)
	}
}

// atEnd has f called when the verb is over.
func atEnd(ctx context.Context, f func() error) {
	if e, ok := ctx.Value(endsKey{}).(*ends); ok {
		e.list = append(e.list, f)
	}
}
