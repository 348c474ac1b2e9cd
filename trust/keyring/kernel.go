// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/peelboot/peel/trust"
)

// Names of the kernel's keyrings that decide about kernels
// (certs/system_keyring.c, security/integrity/digsig.c).
const (
	BuiltinTrusted   = ".builtin_trusted_keys"
	SecondaryTrusted = ".secondary_trusted_keys"
	Machine          = ".machine"
	Platform         = ".platform"
	IMA              = ".ima"
	Blacklist        = ".blacklist"
)

// KernelKey is a key as /proc/keys shows it. User space sees a certificate's
// name and key identifier, never the key itself.
type KernelKey struct {
	Serial int32  `json:"serial"`
	Type   string `json:"type"`
	// Description without the type's own summary at its end:
	// "Debian Secure Boot CA: 6ccece7e…" for a certificate.
	Description string `json:"description"`
	// Keyrings that link to the key, as far as they can be read.
	Keyrings []string `json:"keyrings,omitempty"`
}

// Kernel is what user space can learn of the running kernel's keyrings. It
// serves to foretell what kexec_file_load will say, and its blacklist to
// deny; it can not allow anything, since no key can be read back.
type Kernel struct {
	Keys []KernelKey
	// Keyrings maps the names of keyrings to their serial numbers.
	Keyrings map[string]int32
	// Unreadable names keyrings whose members the caller may not read.
	Unreadable []string
	// Deny holds the hashes of the blacklist keyring.
	Deny trust.List
}

// Members lists the keys of a keyring by serial number; the running kernel's
// is LiveMembers. A recorded machine has none, and keys stay without
// keyrings.
type Members func(serial int32) ([]int32, error)

// maxKeys bounds the lines of /proc/keys that are read.
const maxKeys = 1 << 16

// ReadKernel reads root/proc/keys and, with members, which key is in which
// keyring. A machine without the file has a kernel without keys.
func ReadKernel(root string, members Members) (*Kernel, error) {
	k := &Kernel{Keyrings: map[string]int32{}, Deny: trust.List{Name: "kernel blacklist", Scope: trust.ScopeKernel}}
	b, err := os.ReadFile(filepath.Join(root, "proc/keys"))
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kernel keys: %w: %w", ErrUnreadable, err)
	}
	if err := k.parse(b); err != nil {
		return nil, fmt.Errorf("kernel keys: %w", err)
	}
	if members == nil {
		return k, nil
	}
	for _, name := range []string{BuiltinTrusted, SecondaryTrusted, Machine, Platform, IMA, Blacklist} {
		serial, ok := k.Keyrings[name]
		if !ok {
			continue
		}
		ids, err := members(serial)
		if err != nil {
			k.Unreadable = append(k.Unreadable, name)
			continue
		}
		for i := range k.Keys {
			if slices.Contains(ids, k.Keys[i].Serial) {
				k.Keys[i].Keyrings = append(k.Keys[i].Keyrings, name)
			}
		}
	}
	return k, nil
}

// parse reads the table: serial, flags, usage, timeout, permissions, uid,
// gid, type cut to nine characters, description (security/keys/proc.c).
func (k *Kernel) parse(b []byte) error {
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 1<<16)
	for sc.Scan() {
		if len(k.Keys) == maxKeys {
			return fmt.Errorf("more than %d keys: %w", maxKeys, ErrUnreadable)
		}
		f := strings.Fields(sc.Text())
		if len(f) < 9 {
			continue
		}
		serial, err := strconv.ParseUint(f[0], 16, 32)
		if err != nil {
			return fmt.Errorf("line %q: %w", sc.Text(), ErrUnreadable)
		}
		// The description may have spaces of its own.
		desc := sc.Text()
		for i := 0; i < 8; i++ {
			desc = strings.TrimLeft(desc, " ")
			if cut := strings.IndexByte(desc, ' '); cut >= 0 {
				desc = desc[cut:]
			}
		}
		k.add(int32(serial), f[7], strings.TrimSpace(desc))
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return nil
}

func (k *Kernel) add(serial int32, typ, desc string) {
	switch {
	case typ == "keyring":
		name, _, _ := strings.Cut(desc, ":")
		k.Keyrings[name] = serial
	case strings.HasPrefix("asymmetric", typ) && typ != "":
		// "<name>: <identifier>: X509.rsa 1a2b3c4d []"
		if i := strings.LastIndex(desc, ": "); i >= 0 {
			desc = desc[:i]
		}
		k.Keys = append(k.Keys, KernelKey{Serial: serial, Type: "asymmetric", Description: desc})
	case typ == "blacklist":
		k.Keys = append(k.Keys, KernelKey{Serial: serial, Type: typ, Description: desc})
		k.deny(desc)
	}
}

// deny reads a blacklist description: "bin:" and the digest of an image, or
// "tbs:" and that of a certificate (certs/blacklist.c).
func (k *Kernel) deny(desc string) {
	kind, rest, _ := strings.Cut(desc, ":")
	text, _, _ := strings.Cut(rest, ":")
	sum, err := hex.DecodeString(text)
	h := map[int]crypto.Hash{20: crypto.SHA1, 28: crypto.SHA224, 32: crypto.SHA256, 48: crypto.SHA384, 64: crypto.SHA512}[len(sum)]
	d := trust.Digest{Hash: h, Sum: sum}
	switch {
	case err != nil || h == 0:
		k.Deny.Unknown++
	case kind == "bin":
		k.Deny.Images = append(k.Deny.Images, d)
	case kind == "tbs":
		k.Deny.TBS = append(k.Deny.TBS, trust.TBSDigest{Digest: d})
	default:
		k.Deny.Unknown++
	}
}

// Holds returns the keyrings that hold a key with the name and key identifier
// of c; a single empty name when the key is there and its keyring unknown.
// Nobody can tell from user space that it is the same key, so this foretells
// and does not vouch.
func (k *Kernel) Holds(c *x509.Certificate) []string {
	if len(c.SubjectKeyId) == 0 {
		return nil
	}
	id := hex.EncodeToString(c.SubjectKeyId)
	var out []string
	for _, key := range k.Keys {
		if key.Type != "asymmetric" {
			continue
		}
		if i := strings.LastIndex(key.Description, ": "); i >= 0 && key.Description[i+2:] == id {
			if len(key.Keyrings) == 0 {
				out = append(out, "")
			}
			out = append(out, key.Keyrings...)
		}
	}
	return out
}
