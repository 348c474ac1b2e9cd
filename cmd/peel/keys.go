// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
)

// signFlags are the flags of verbs that sign.
type signFlags struct {
	cmd             *cobra.Command
	key, cert, hash string
	stamp           bool
}

func (f *signFlags) add(cmd *cobra.Command, what string) {
	f.cmd = cmd
	fs := cmd.Flags()
	fs.StringVar(&f.key, "key", "", "sign "+what+" with this private `KEY`: a file (PEM or DER, not encrypted, or a TPM's), pkcs11:… or tpm:HANDLE")
	fs.StringVar(&f.cert, "cert", "", "the key's certificate in `FILE` (PEM or DER), those of its issuers after it")
	fs.StringVar(&f.hash, "hash", "sha256", "use this `HASH`: sha256, sha384 or sha512")
	sourceFlags(fs)
	fs.BoolVar(&f.stamp, "signing-time", false, "put the time of SOURCE_DATE_EPOCH into the signature")
}

// signature returns what the flags ask for, ok false without --key.
func (f *signFlags) signature() (s build.Signature, ok bool, err error) {
	if f.key == "" && f.cert == "" {
		return s, false, nil
	}
	if f.key == "" || f.cert == "" && !isOutside(f.cmd, f.key) {
		return s, false, usagef("--key and --cert belong together")
	}
	if s.Options.Hash, err = hashByName(f.hash); err != nil {
		return s, false, err
	}
	if s.Key, err = openPair(f.cmd, f.key, f.cert); err != nil {
		return s, false, err
	}
	if f.stamp {
		t, ok, err := sourceDate()
		if err != nil {
			return s, false, err
		}
		if !ok {
			return s, false, usagef("--signing-time: SOURCE_DATE_EPOCH is not set")
		}
		s.Options.Time = t
	}
	return s, true, nil
}

// signatures is signature as a list of one or none.
func (f *signFlags) signatures() ([]build.Signature, error) {
	s, ok, err := f.signature()
	if err != nil || !ok {
		return nil, err
	}
	return []build.Signature{s}, nil
}

func hashByName(name string) (crypto.Hash, error) {
	switch name {
	case "sha256":
		return crypto.SHA256, nil
	case "sha384":
		return crypto.SHA384, nil
	case "sha512":
		return crypto.SHA512, nil
	}
	return 0, usagef("--hash %q, want sha256, sha384 or sha512", name)
}

// readLimited reads a small file.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return b, nil
}

// sourceDate returns the time that SOURCE_DATE_EPOCH asks for
// (reproducible-builds.org); ok is false when it is not set.
func sourceDate() (t time.Time, ok bool, err error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return t, false, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 253402300799 {
		return t, false, usagef("SOURCE_DATE_EPOCH=%q is no number of seconds", s)
	}
	return time.Unix(n, 0).UTC(), true, nil
}

// writeImage writes an image and tells about it.
func (a *app) writeImage(cmd *cobra.Command, im *build.Image, path string, o build.FileOptions) error {
	for _, n := range im.Notes {
		fmt.Fprintf(a.err, "peel: %s\n", oneLine(n))
	}
	var p progress
	if isTerminal(a.err) {
		p.w = a.err
		o.Progress = p.show
	}
	err := im.WriteFile(cmd.Context(), path, o)
	p.end()
	if err != nil {
		return err
	}
	return a.tellWritten(path)
}

// built is what is said about a file that was made.
type built struct {
	File string `json:"file"`
	Size int64  `json:"size"`
}

func (a *app) tellWritten(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.out, built{File: path, Size: fi.Size()})
	}
	_, err = fmt.Fprintf(a.out, "%s  %s\n", path, size(uint64(fi.Size())))
	return err
}

// progress shows how much of a file was written, on a terminal, when that
// takes long enough to be seen.
type progress struct {
	w     io.Writer
	last  int64
	shown bool
}

func (p *progress) show(done, total int64) {
	const step = 32 << 20
	if done-p.last < step && done != total || total < step {
		return
	}
	p.last, p.shown = done, true
	fmt.Fprintf(p.w, "\r%3d %%  %s of %s ", done*100/max(total, 1), size(uint64(done)), size(uint64(total)))
}

func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
