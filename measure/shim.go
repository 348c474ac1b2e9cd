// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"crypto/x509"
	"encoding/binary"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/measure/eventlog"
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
