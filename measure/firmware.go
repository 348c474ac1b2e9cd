// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/measure/eventlog"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/cms"
	"github.com/peelboot/peel/trust/esl"
)

// ErrAuthority: no entry of db, or of shim's lists, lets an image boot.
var ErrAuthority = errors.New("no entry of db or of the owner's keys covers this image")

// Firmware are the Secure Boot variables as firmware measures them: their raw
// contents. A variable that does not exist is measured with no contents.
type Firmware struct {
	vars map[string][]byte
}

// measured is a variable that firmware measures into PCR 7, in its order. The
// optional ones are measured only when they exist (PC Client Platform Firmware
// Profile, section 3.3.4.8).
type measured struct {
	name, vendor string
	optional     bool
}

func measuredVariables() []measured {
	return []measured{
		{"SecureBoot", esl.GlobalVariable, false},
		{"PK", esl.GlobalVariable, false},
		{"KEK", esl.GlobalVariable, false},
		{"db", esl.ImageSecurityDatabase, false},
		{"dbx", esl.ImageSecurityDatabase, false},
		{"dbt", esl.ImageSecurityDatabase, true},
		{"dbr", esl.ImageSecurityDatabase, true},
	}
}

const maxVariable = 4 << 20

// ReadFirmware reads the variables from a directory: efivarfs or a copy of it
// (NAME-GUID, four bytes of attributes first), or files NAME.esl and NAME.auth,
// with SecureBoot.bin of one byte; without the latter Secure Boot counts as on
// when there is a PK.
func ReadFirmware(dir string) (*Firmware, error) {
	f := &Firmware{vars: map[string][]byte{}}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("firmware variables: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("firmware variables: %s is not a directory", dir)
	}
	raw := false
	for _, v := range append(measuredVariables(), shimVariables()...) {
		data, how, err := readVariable(dir, v)
		if err != nil {
			return nil, fmt.Errorf("firmware variables: %w", err)
		}
		if how != "" {
			f.vars[v.name] = data
			raw = raw || how == "efivars"
		}
	}
	if _, ok := f.vars["SecureBoot"]; !ok && !raw && len(f.vars["PK"]) > 0 {
		f.vars["SecureBoot"] = []byte{1}
	}
	return f, nil
}

// readVariable returns the contents and from which kind of file they are.
func readVariable(dir string, v measured) ([]byte, string, error) {
	for _, form := range []struct{ name, how string }{
		{v.name + "-" + v.vendor, "efivars"}, {v.name + ".esl", "esl"}, {v.name + ".auth", "auth"}, {v.name + ".bin", "bin"},
	} {
		b, err := readLimited(filepath.Join(dir, form.name), maxVariable)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		switch form.how {
		case "efivars":
			if len(b) < 4 {
				return nil, "", fmt.Errorf("%s: %d bytes: %w", form.name, len(b), esl.ErrTruncated)
			}
			b = b[4:]
		case "auth":
			u, err := esl.ParseAuth(b)
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w", form.name, err)
			}
			b = u.Contents
		}
		return b, form.how, nil
	}
	return nil, "", nil
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than 0x%x bytes: %w", path, limit, ErrLimit)
	}
	return b, err
}

// SecureBoot reports whether firmware checks signatures.
func (f *Firmware) SecureBoot() bool { return bytes.Equal(f.vars["SecureBoot"], []byte{1}) }

// events are the EV_EFI_VARIABLE_DRIVER_CONFIG events of PCR 7.
func (f *Firmware) events(banks []eventlog.Hash) []eventlog.Event {
	var out []eventlog.Event
	for _, v := range measuredVariables() {
		data, ok := f.vars[v.name]
		if !ok && v.optional {
			continue
		}
		d := variableData(v.vendor, v.name, data)
		out = append(out, eventlog.NewEvent(PCRSecureBoot, eventlog.EFIVariableConfig, banks, d, d))
	}
	return out
}

// variableData writes a UEFI_VARIABLE_DATA: GUID, u64 characters of the name,
// u64 size of the contents, name in UTF-16 without its zero, contents.
func variableData(vendor, name string, data []byte) []byte {
	var out []byte
	// The vendors are constants of package esl, which parse.
	if g, err := esl.ParseGUID(vendor); err == nil {
		out = append(out, g[:]...)
	}
	text := eventlog.UTF16(name)
	text = text[:len(text)-2]
	out = binary.LittleEndian.AppendUint64(out, uint64(len(text)/2))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(data)))
	return append(append(out, text...), data...)
}

// authority returns what firmware measures of the db entry that lets an image
// boot: a UEFI_VARIABLE_DATA with the EFI_SIGNATURE_DATA, owner and entry. The
// signatures of the image are tried in their order, and for each the entries of
// db in theirs; an image without a fitting signature may be let in by its
// digest.
func (f *Firmware) authority(img *pe.File) ([]byte, error) {
	db, err := esl.Parse(f.vars["db"])
	if err != nil {
		return nil, fmt.Errorf("db: %w", err)
	}
	found := func(e esl.Entry) []byte { return authorityData(esl.ImageSecurityDatabase, "db", e) }
	entries, err := authenticode.Read(img)
	if err != nil && !errors.Is(err, authenticode.ErrNone) {
		return nil, err
	}
	for _, sig := range entries {
		if sig.Signature == nil {
			continue
		}
		for _, e := range db {
			if e.Type != esl.X509 {
				continue
			}
			c, err := x509.ParseCertificate(e.Data)
			if err == nil && chains(sig.Signature.Message, c) {
				return found(e), nil
			}
		}
	}
	// Once for all entries: db may have thousands.
	digests := map[crypto.Hash][]byte{}
	for _, e := range db {
		h := e.Type.Hash()
		if h == 0 || e.Type.TBS() {
			continue
		}
		d, known := digests[h]
		if !known {
			if d, err = img.Digest(h); err != nil {
				d = nil
			}
			digests[h] = d
		}
		if d != nil && bytes.Equal(d, e.Data) {
			return found(e), nil
		}
	}
	return nil, ErrAuthority
}

// authorityData is what is measured of an entry that lets an image in: a
// UEFI_VARIABLE_DATA with its EFI_SIGNATURE_DATA.
func authorityData(vendor, name string, e esl.Entry) []byte {
	return variableData(vendor, name, append(append([]byte(nil), e.Owner[:]...), e.Data...))
}

// maxChain bounds the path from a signer to a certificate of db.
const maxChain = 8

// chains reports whether a message's signer is a certificate or was issued by
// it through certificates in the message. It is no judgement: it says which
// entry firmware names, for an image that firmware lets in.
func chains(m *cms.SignedData, anchor *x509.Certificate) bool {
	for i := range m.Signers {
		s := &m.Signers[i]
		for _, c := range append([]*x509.Certificate{anchor}, m.Certificates...) {
			if s.Names(c) && leads(c, anchor, m.Certificates, maxChain) {
				return true
			}
		}
	}
	return false
}

func leads(c, anchor *x509.Certificate, pool []*x509.Certificate, depth int) bool {
	if sha256.Sum256(c.Raw) == sha256.Sum256(anchor.Raw) {
		return true
	}
	if depth == 0 {
		return false
	}
	if bytes.Equal(c.RawIssuer, anchor.RawSubject) {
		if _, err := cms.CheckIssued(c, anchor); err == nil {
			return true
		}
	}
	for _, p := range pool {
		if !bytes.Equal(p.Raw, c.Raw) && bytes.Equal(c.RawIssuer, p.RawSubject) {
			if _, err := cms.CheckIssued(c, p); err == nil && leads(p, anchor, pool, depth-1) {
				return true
			}
		}
	}
	return false
}
