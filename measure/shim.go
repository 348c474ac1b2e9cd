// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/measure/eventlog"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/esl"
	"github.com/peelboot/peel/trust/sbat"
)

// shimVariables are those that shim shows to the system of what it measured.
func shimVariables() []measured {
	return []measured{
		{"MokListRT", esl.ShimLock, true}, {"MokListXRT", esl.ShimLock, true},
		{"SbatLevelRT", esl.ShimLock, true}, {"MokListTrustedRT", esl.ShimLock, true},
	}
}

// isShim reports whether an image is shim, by its own word in .sbat.
func isShim(f *pe.File) bool {
	s, ok := f.Find(uki.SBAT)
	if !ok {
		return false
	}
	list, err := sbat.ParseSection(f.Data(s))
	if err != nil {
		return false
	}
	for _, e := range list {
		if e.Component == "shim" {
			return true
		}
	}
	return false
}

// vendorLists reads what is built into shim: section .vendor_cert begins with
// u32 size of the allowed, u32 size of the denied, u32 offset of the allowed,
// u32 offset of the denied, all from its start, little endian (cert.S of
// shim). Allowed is a certificate or a signature list.
func vendorLists(f *pe.File) (allowed, denied []byte) {
	s, ok := f.Find(".vendor_cert")
	if !ok {
		return nil, nil
	}
	data := f.Data(s)
	if len(data) < 16 {
		return nil, nil
	}
	le := binary.LittleEndian
	cut := func(size, off uint32) []byte {
		if uint64(off)+uint64(size) > uint64(len(data)) {
			return nil
		}
		return data[off : off+size]
	}
	return cut(le.Uint32(data), le.Uint32(data[8:])), cut(le.Uint32(data[4:]), le.Uint32(data[12:]))
}

// shimEvents are what shim 15.3 and later measure of themselves: the lists of
// keys of the owner with the vendor's, into PCR 14; the SBAT level, into PCR 7.
func (c *bootChain) shimEvents(f *pe.File) {
	fw := c.o.Firmware
	allowed, denied := vendorLists(f)
	if _, err := x509.ParseCertificate(allowed); err == nil {
		owner, err := esl.ParseGUID(esl.ShimLock)
		if err == nil {
			allowed, err = esl.Marshal([]esl.Entry{{Type: esl.X509, Owner: owner, Data: allowed}})
		}
		if err != nil {
			allowed = nil
		}
	}
	pick := func(name string, other []byte) []byte {
		if v, ok := fw.vars[name]; ok {
			return v
		}
		return other
	}
	ipl := func(name string, data []byte) {
		if len(data) > 0 {
			c.events = append(c.events, eventlog.NewEvent(PCRShim, eventlog.IPL, c.banks, []byte(name+"\x00"), data))
		}
	}
	if _, ok := fw.vars["MokListRT"]; !ok {
		c.p.note("MokListRT is not known: PCR 14 is that of a machine without owner keys")
	}
	ipl("MokList", pick("MokListRT", allowed))
	ipl("MokListX", pick("MokListXRT", denied))
	if level, ok := fw.vars["SbatLevelRT"]; ok {
		d := variableData(esl.ShimLock, "SbatLevel", level)
		c.events = append(c.events, eventlog.NewEvent(PCRSecureBoot, eventlog.EFIVariableAuthority, c.banks, d, d))
	} else {
		c.p.note("SbatLevelRT is not known: PCR 7 is wrong, shim measures the level")
	}
	ipl("MokListTrusted", pick("MokListTrustedRT", []byte{1}))
}

// shim is what shim knows when it judges images: beside db the keys that are
// built into it, and those of the machine's owner.
type shim struct {
	vendorCert []byte      // a certificate, or nil
	vendorDB   []esl.Entry // a list in its place
	ownerName  string      // of the variable with the owner's keys
	owner      []esl.Entry
}

// newShim reads what is built into shim, and the owner's keys out of
// MokListRT. Since 15.7 shim looks them up there, where those built in are as
// well; before that in MokList, which is the same without those and which only
// boot services see (https://github.com/rhboot/shim/issues/714).
func newShim(fw *Firmware, f *pe.File) *shim {
	s := &shim{ownerName: "MokListRT"}
	allowed, _ := vendorLists(f)
	if _, err := x509.ParseCertificate(allowed); err == nil {
		s.vendorCert = allowed
	} else if list, err := esl.Parse(allowed); err == nil {
		s.vendorDB = list
	}
	list, err := esl.Parse(fw.vars["MokListRT"])
	if err != nil {
		list = nil
	}
	if !shimBefore157(f) {
		s.owner = list
		if _, known := fw.vars["MokListRT"]; !known && s.vendorCert != nil {
			owner, _ := esl.ParseGUID(esl.ShimLock)
			s.owner = []esl.Entry{{Type: esl.X509, Owner: owner, Data: s.vendorCert}}
		}
		return s
	}
	s.ownerName = "MokList"
	for _, e := range list {
		if !s.builtIn(e) {
			s.owner = append(s.owner, e)
		}
	}
	return s
}

// builtIn reports whether an entry of MokListRT comes from shim itself.
func (s *shim) builtIn(e esl.Entry) bool {
	if s.vendorCert != nil && bytes.Equal(e.Data, s.vendorCert) {
		return true
	}
	return slices.ContainsFunc(s.vendorDB, func(v esl.Entry) bool { return v.Type == e.Type && bytes.Equal(v.Data, e.Data) })
}

// shimBefore157 reports whether shim says that its version is below 15.7:
// "$Version: 15.4 $" in section .data.ident. A version that is not known counts
// as newer.
func shimBefore157(f *pe.File) bool {
	s, ok := f.Find(".data.ident")
	if !ok {
		return false
	}
	_, text, ok := bytes.Cut(f.Data(s), []byte("$Version: "))
	var major, minor int
	if n, _ := fmt.Sscanf(string(text[:min(len(text), 16)]), "%d.%d", &major, &minor); !ok || n == 0 {
		return false
	}
	return major < 15 || major == 15 && minor < 7
}

// authorities returns what shim measures of the entries that let an image in
// (shim.c, verify_buffer and check_allowlist, since shim 15.3). A digest in
// db, in the vendor's list or among the owner's is enough. Otherwise each signature
// is tried, also behind one that fits: for each the first certificate of these
// lists counts, in the end the vendor's, of which the certificate alone is
// measured.
func (s *shim) authorities(fw *Firmware, img *pe.File) ([][]byte, error) {
	db, err := esl.Parse(fw.vars["db"])
	if err != nil {
		return nil, fmt.Errorf("db: %w", err)
	}
	lists := []struct {
		name, vendor string
		entries      []esl.Entry
	}{{"db", esl.ImageSecurityDatabase, db}, {"vendor_db", esl.ImageSecurityDatabase, s.vendorDB}, {s.ownerName, esl.ShimLock, s.owner}}
	// Once for all entries: lists may have thousands.
	digest, err := img.Digest(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	for _, l := range lists {
		for _, e := range l.entries {
			if e.Type.Hash() == crypto.SHA256 && !e.Type.TBS() {
				if bytes.Equal(digest, e.Data) {
					return [][]byte{authorityData(l.vendor, l.name, e)}, nil
				}
			}
		}
	}
	entries, err := authenticode.Read(img)
	if err != nil && !errors.Is(err, authenticode.ErrNone) {
		return nil, err
	}
	var out [][]byte
	for _, sig := range entries {
		if sig.Signature == nil {
			continue
		}
		fits := func(cert []byte) bool {
			c, err := x509.ParseCertificate(cert)
			return err == nil && chains(sig.Signature.Message, c)
		}
		found := false
		for _, l := range lists {
			i := slices.IndexFunc(l.entries, func(e esl.Entry) bool { return e.Type == esl.X509 && fits(e.Data) })
			if i >= 0 {
				out, found = append(out, authorityData(l.vendor, l.name, l.entries[i])), true
				break
			}
		}
		if !found && s.vendorCert != nil && fits(s.vendorCert) {
			out = append(out, variableData(esl.ShimLock, "Shim", s.vendorCert))
		}
	}
	if len(out) == 0 {
		return nil, ErrAuthority
	}
	return out, nil
}
