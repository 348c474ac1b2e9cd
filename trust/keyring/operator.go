// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/peelboot/peel/trust"
)

// The operator's directories.
const (
	KeysDir    = "/etc/peel/keys.d"
	RevokedDir = "/etc/peel/revoked.d"
	PolicyFile = "/etc/peel/policy.toml"
)

// ReadDir reads every key file of dir and of its subdirectories with a known
// use: "image", "parser", "kexec" and "build"; in "build" the file's name
// without extension is the kernel release the key is bound to. Files are
// certificates (.pem, .crt, .cer, .der), signature lists (.esl, .auth) or
// digests (.sha256, .sha384, .sha512: hex, one per line, '#' starts a
// comment). A directory that does not exist has no lists. A key file that
// cannot be read is an error, so that a broken entry is noticed and a broken
// denial never passes.
func ReadDir(dir string) ([]trust.List, error) {
	out, err := readLevel(dir, trust.UsageAny)
	if err != nil {
		return nil, err
	}
	for _, u := range []trust.Usage{trust.UsageImage, trust.UsageParser, trust.UsageKexec, trust.UsageBuild} {
		ls, err := readLevel(filepath.Join(dir, string(u)), u)
		if err != nil {
			return nil, err
		}
		out = append(out, ls...)
	}
	return out, nil
}

func readLevel(dir string, usage trust.Usage) ([]trust.List, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	var out []trust.List
	for _, e := range entries {
		h := hashFile(e.Name())
		if e.IsDir() || !isKeyFile(e.Name()) && h == 0 {
			continue
		}
		path := filepath.Join(dir, e.Name())
		l, err := ReadFile(path)
		if err != nil {
			return nil, err
		}
		l.Usage = usage
		if usage == trust.UsageBuild {
			l.Release = strings.TrimSuffix(e.Name(), filepath.Ext(e.Name()))
		}
		out = append(out, l)
	}
	return out, nil
}

// ReadFile reads one key file of any kind that ReadDir knows as an operator's
// list.
func ReadFile(path string) (trust.List, error) {
	l := trust.List{Name: path, Scope: trust.ScopeOperator}
	b, err := readFile(path)
	if err != nil {
		return l, err
	}
	if h := hashFile(path); h != 0 {
		err = addDigests(&l, h, b)
	} else {
		err = addTo(&l, b)
	}
	if err == nil && l.Len() == 0 && hashFile(path) == 0 {
		err = errors.New("it holds no key")
	}
	if err == nil && (len(l.Unreadable) > 0 || l.Unknown > 0) {
		err = fmt.Errorf("%d entries are of no kind that can be used", len(l.Unreadable)+l.Unknown)
	}
	if err != nil {
		return l, fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
	}
	return l, nil
}

// hashFile returns the digest that a file name's extension stands for, or 0.
func hashFile(name string) crypto.Hash {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".sha256":
		return crypto.SHA256
	case ".sha384":
		return crypto.SHA384
	case ".sha512":
		return crypto.SHA512
	}
	return 0
}

// addDigests reads hex digests, one per line, as sha256sum writes them: what
// follows the digest on its line is a comment.
func addDigests(l *trust.List, h crypto.Hash, b []byte) error {
	for i, line := range bytes.Split(b, []byte("\n")) {
		text, _, _ := strings.Cut(string(line), "#")
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		sum, err := hex.DecodeString(f[0])
		if err != nil || len(sum) != h.Size() {
			return fmt.Errorf("line %d: %q is no %s digest", i+1, f[0], h)
		}
		l.Images = append(l.Images, trust.Digest{Hash: h, Sum: sum})
	}
	return nil
}
