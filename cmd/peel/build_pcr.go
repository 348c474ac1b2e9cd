// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// pcrFlags are the flags of build uki about the values that PCR 11 will have.
type pcrFlags struct {
	keys, public, phases, profiles []string
	banks                          string
	measure, digest                bool
}

func (f *pcrFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringArrayVar(&f.keys, "pcr-private-key", nil, "sign the values PCR 11 will have with this RSA `KEY`, named as for --key (repeatable)")
	fs.StringArrayVar(&f.public, "pcr-public-key", nil, "the public key or certificate in `FILE` belongs to the --pcr-private-key at the same place, or is that of --policy-digest (repeatable)")
	fs.StringArrayVar(&f.phases, "phases", nil, "boot phase `PATHS` for the --pcr-private-key at the same place, separated by spaces (repeatable)")
	fs.StringVar(&f.banks, "pcr-banks", "", "`BANKS` of PCR 11, separated by commas (default: all)")
	fs.StringArrayVar(&f.profiles, "sign-profile", nil, "of the profiles, sign for the one with this `ID` only (repeatable)")
	fs.BoolVar(&f.measure, "measure", false, "print the values that PCR 11 will have")
	fs.BoolVar(&f.digest, "policy-digest", false, "print the policies over PCR 11, to be signed elsewhere")
}

// check refuses what contradicts itself.
func (f *pcrFlags) check() error {
	switch n := len(f.keys); {
	case f.digest && n > 0:
		return usagef("--policy-digest is for keys that are kept elsewhere, --pcr-private-key for one that is here")
	case f.digest && f.measure:
		return usagef("--policy-digest and --measure both print: one at a time")
	case f.digest && (len(f.public) > 1 || len(f.phases) > 1):
		return usagef("--policy-digest takes one --pcr-public-key and one --phases")
	case !f.digest && n == 0 && len(f.public) > 0:
		return usagef("--pcr-public-key needs --pcr-private-key, or --policy-digest; --pcrpkey puts a key into the image")
	case n > 0 && len(f.public) > 0 && len(f.public) != n:
		return usagef("%d of --pcr-public-key, %d of --pcr-private-key", len(f.public), n)
	case !f.digest && !f.measure && len(f.phases) > n:
		return usagef("--phases belongs to the --pcr-private-key at the same place")
	case len(f.profiles) > 0 && n == 0 && !f.digest && !f.measure:
		return usagef("--sign-profile needs --pcr-private-key")
	}
	return nil
}

// fromConfig takes keys from a configuration file unless there are some.
func (f *pcrFlags) fromConfig(file string, list []build.PCRSignature) error {
	if len(f.keys) > 0 {
		return nil
	}
	public := 0
	for _, p := range list {
		v := map[string]string{}
		for _, s := range p.Settings {
			v[s.Key] = s.Value
		}
		switch {
		case v["PolicyRef"] != "":
			return fmt.Errorf("%s: [PCRSignature:%s] PolicyRef: peel signs policies without a reference", file, p.Name)
		case v["PCRPublicKey"] != "" && v["PCRCertificate"] != "":
			return fmt.Errorf("%s: [PCRSignature:%s] has both PCRPublicKey and PCRCertificate", file, p.Name)
		case v["PCRPrivateKey"] == "" && !f.digest:
			return fmt.Errorf("%s: [PCRSignature:%s] has no PCRPrivateKey", file, p.Name)
		}
		if k := v["PCRPrivateKey"]; k != "" {
			f.keys = append(f.keys, k)
		}
		f.phases = append(f.phases, v["Phases"])
		if k := v["PCRPublicKey"] + v["PCRCertificate"]; k != "" {
			f.public = append(f.public, k)
			public++
		}
	}
	if public > 0 && public < len(list) {
		return fmt.Errorf("%s: %d of %d sections [PCRSignature:…] name a public key, want all or none", file, public, len(list))
	}
	return nil
}

func (f *pcrFlags) options() (o build.PCROptions, err error) {
	o.Profiles = f.profiles
	for _, s := range strings.FieldsFunc(f.banks, func(r rune) bool { return r == ',' || r == ' ' }) {
		h, err := eventlog.ParseHash(s)
		if err != nil || !h.Available() {
			return o, usagef("--pcr-banks %q, want some of sha1, sha256, sha384, sha512", f.banks)
		}
		o.Banks = append(o.Banks, h)
	}
	return o, nil
}

// sign makes the section .pcrsig.
func (f *pcrFlags) sign(cmd *cobra.Command, u *build.UKI, o build.PCROptions) error {
	var keys []build.PCRKey
	for i, p := range f.keys {
		s, _, err := openSigner(cmd, p)
		if err != nil {
			return err
		}
		if i < len(f.public) {
			pub, err := readPublic(f.public[i])
			if err != nil {
				return err
			}
			if k, ok := s.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(pub) {
				return fmt.Errorf("%s is not the public key of %s", f.public[i], keyName(p))
			}
		}
		k := build.PCRKey{Signer: s}
		if i < len(f.phases) {
			k.Phases = strings.Fields(f.phases[i])
		}
		keys = append(keys, k)
	}
	return u.SignPCRs(cmd.Context(), keys, o)
}

// pcrReport is what --measure and --policy-digest print.
type pcrReport struct {
	built
	PCRs     []phaseCase              `json:"pcrs,omitempty"`
	Policies measure.PolicySignatures `json:"policies,omitempty"`
}

// report computes what is to be printed, nil for nothing.
func (f *pcrFlags) report(cmd *cobra.Command, u *build.UKI, o build.PCROptions) (*pcrReport, error) {
	var phases []string
	for _, p := range f.phases {
		phases = append(phases, strings.Fields(p)...)
	}
	switch {
	case f.digest:
		var pub crypto.PublicKey
		if len(f.public) > 0 {
			var err error
			if pub, err = readPublic(f.public[0]); err != nil {
				return nil, err
			}
		}
		p, err := u.PCRPolicies(cmd.Context(), pub, phases, o)
		return &pcrReport{Policies: p}, err
	case f.measure:
		cases, err := u.PredictPCRs(cmd.Context(), o)
		if err != nil {
			return nil, err
		}
		if len(phases) == 0 {
			phases = measure.DefaultPhases()
		}
		banks := o.Banks
		if len(banks) == 0 {
			banks = eventlog.Banks()
		}
		r := &pcrReport{}
		for i := range cases {
			values, err := cases[i].Phases(banks, phases)
			if err != nil {
				return nil, err
			}
			pc := phaseCase{Case: cases[i].Name, Values: map[string][]measure.PhaseValue{}}
			for _, v := range values {
				pc.Values[v.Hash.String()] = append(pc.Values[v.Hash.String()], v)
			}
			r.PCRs = append(r.PCRs, pc)
		}
		return r, nil
	}
	return nil, nil
}

// print writes the report of the image at path.
func (r *pcrReport) print(a *app, path string, n int64) error {
	if a.json {
		r.built = built{File: path, Size: n}
		return printJSON(a.out, r)
	}
	if r.Policies != nil {
		b, err := json.Marshal(r.Policies)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%s\n", b)
		return err
	}
	for _, c := range r.PCRs {
		if c.Case != "" {
			fmt.Fprintf(a.out, "# %s\n", oneLine(c.Case))
		}
		for _, h := range eventlog.Banks() {
			for _, v := range c.Values[h.String()] {
				fmt.Fprintf(a.out, "# phase %s\n%d:%s=%s\n", oneLine(v.Phase), v.PCR, h, v.Value)
			}
		}
	}
	return nil
}

// writeReported writes an image and prints a report in place of the line that
// tells where it is.
func (a *app) writeReported(cmd *cobra.Command, im *build.Image, path string, o build.FileOptions, r *pcrReport) error {
	if r == nil {
		return a.writeImage(cmd, im, path, o)
	}
	// Standard output is for the report alone, which others read.
	aside := *a
	aside.out = a.err
	if a.json {
		aside.out = io.Discard
	}
	if err := aside.writeImage(cmd, im, path, o); err != nil {
		return err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	return r.print(a, path, fi.Size())
}

// readPublic reads a public key, or takes it out of a certificate.
func readPublic(path string) (crypto.PublicKey, error) {
	b, err := readLimited(path, sign.MaxKeyFile)
	if err != nil {
		return nil, err
	}
	der := b
	if block, _ := pem.Decode(b); block != nil {
		der = block.Bytes
	}
	if k, err := x509.ParsePKIXPublicKey(der); err == nil {
		return k, nil
	}
	list, err := sign.ParseCertificates(b)
	if err != nil {
		return nil, fmt.Errorf("%s: neither a public key nor a certificate: %w", path, err)
	}
	return list[0].PublicKey, nil
}
