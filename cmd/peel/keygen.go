// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/build/keyset"
	"github.com/peelboot/peel/build/sign/tpmkey"
	"github.com/peelboot/peel/measure/tpm"
	"github.com/peelboot/peel/trust/esl"
)

func (a *app) keygenCommand() *cobra.Command {
	var dir, name, typ, owner, single, device, parent string
	var days int
	cmd := &cobra.Command{
		Use:   "keygen -o DIR",
		Short: "Make a set of Secure Boot keys: PK, KEK, db",
		Long: `Make a platform key, a key exchange key and a signature database key in DIR: for each the private key (.key, not
encrypted), the certificate (.pem, .der), the signature list (.esl) and the signed update that enrols it (.auth).
PK-delete.auth returns a machine to setup mode. --single NAME makes one code-signing key, NAME.key and NAME.pem.

With --tpm the keys are made inside this machine's TPM 2.0 and can never leave it: a .key file is then one that only
this TPM can open, in the format of OpenSSL's tpm2 provider. Nothing is stored in the TPM; when it is cleared, the
keys are lost. --pin-source gives the keys a password.

No file that exists is replaced.`,
		Example: "  peel keygen -o keys --name \"My site\"\n  peel sign linux.efi --key keys/db.key --cert keys/db.pem -o linux.signed.efi\n" +
			"  peel keygen -o keys --single site --tpm --pin-source /run/password",
		GroupID: "make",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("keygen: -o DIR is missing")
			}
			if days < 1 || days > 36500 {
				return usagef("--days %d, want 1 to 36500", days)
			}
			o := keyset.Options{Name: name, Type: typ, Valid: time.Duration(days) * 24 * time.Hour}
			now, ok, err := sourceDate()
			if err != nil {
				return err
			}
			if !ok {
				now = time.Now()
			}
			o.Time = now
			if owner != "" {
				if o.Owner, err = esl.ParseGUID(owner); err != nil {
					return usagef("--owner: %w", err)
				}
			}
			switch {
			case device != "":
				if o.NewSigner, err = tpmKeys(cmd, parent); err != nil {
					return err
				}
			case parent != "" || flagValue(cmd, flagPIN) != "":
				return usagef("keygen: --tpm-parent and --pin-source are for keys in a TPM, --tpm")
			}
			var files []keyset.File
			if single != "" {
				files, err = singleKey(single, o)
			} else {
				var s *keyset.Set
				if s, err = keyset.New(o); err == nil {
					files, err = s.Files()
				}
			}
			if errors.Is(err, keyset.ErrOption) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			return a.writeKeys(dir, files)
		},
	}
	a.jsonFlag(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&dir, "output", "o", "", "write the files to `DIR`, which is made if need be")
	fl.StringVar(&name, "name", "peel", "begin the subjects of the certificates with `NAME`")
	fl.StringVar(&typ, "type", "rsa2048", "`TYPE` of key: rsa2048, rsa3072, rsa4096, ecdsa256 or ecdsa384; firmware is sure to take rsa2048 alone")
	fl.StringVar(&owner, "owner", "", "`GUID` of the owner in signature lists (default: made out of the platform key)")
	fl.StringVar(&single, "single", "", "make one code-signing key with this `NAME`")
	fl.StringVar(&device, flagTPM, "", "make the keys in the TPM at `DEVICE` or socket (alone: "+tpm.Device+")")
	fl.Lookup(flagTPM).NoOptDefVal = tpm.Device
	fl.StringVar(&parent, "tpm-parent", "", "the keys stand below the persistent storage key with this `HANDLE` (default: below the owner hierarchy)")
	fl.String(flagPIN, "", "keys in a TPM get the password in this `FILE`, or in env:NAME")
	fl.IntVar(&days, "days", 3650, "the certificates are valid for `N` days")
	return cmd
}

// tpmKeys returns what makes keys in the TPM.
func tpmKeys(cmd *cobra.Command, parent string) (func(typ string) (crypto.Signer, error), error) {
	o, err := tpmOptions(cmd)
	if err != nil {
		return nil, err
	}
	var handle uint64
	if parent != "" {
		if handle, err = strconv.ParseUint(parent, 0, 32); err != nil {
			return nil, usagef("--tpm-parent %q, want the number of a persistent key, such as 0x%x", parent, tpmkey.StorageRootKey)
		}
	}
	return func(typ string) (crypto.Signer, error) {
		return tpmkey.Create(tpmkey.CreateOptions{Options: o, Type: typ, Parent: uint32(handle)})
	}, nil
}

func singleKey(name string, o keyset.Options) ([]keyset.File, error) {
	if filepath.Base(name) != name || name == "." || name == ".." {
		return nil, usagef("--single %q is no file name", name)
	}
	k, err := keyset.Generate(name, o)
	if err != nil {
		return nil, err
	}
	key, cert, err := keyset.PEM(k)
	if err != nil {
		return nil, err
	}
	return []keyset.File{{Name: name + ".key", Data: key, Secret: true}, {Name: name + ".pem", Data: cert}, {Name: name + ".der", Data: k.Certificate.Raw}}, nil
}

// writeKeys writes all files or, if one is there already, none.
func (a *app) writeKeys(dir string, files []keyset.File) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.Name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w; keys are never replaced", filepath.Join(dir, f.Name), build.ErrExists)
		}
	}
	var done []built
	for _, f := range files {
		p := filepath.Join(dir, f.Name)
		perm := fs.FileMode(0o644)
		if f.Secret {
			perm = 0o600
		}
		if err := build.WriteFile(p, f.Data, perm, false); err != nil {
			for _, d := range done {
				err = errors.Join(err, os.Remove(d.File))
			}
			return err
		}
		done = append(done, built{File: p, Size: int64(len(f.Data))})
	}
	if a.json {
		return printJSON(a.out, done)
	}
	for _, d := range done {
		fmt.Fprintf(a.out, "%s  %s\n", d.File, size(uint64(d.Size)))
	}
	return nil
}
