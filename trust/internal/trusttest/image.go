// SPDX-License-Identifier: Apache-2.0

package trusttest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/peelboot/peel/image/pe"
)

// Section is a section of a small image.
type Section struct {
	Name string
	Data []byte
}

// PE returns a small unsigned PE32+ image with the given sections.
func PE(t testing.TB, sections ...Section) []byte {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0x8664, SectionAlignment: 4096, FileAlignment: 32})
	for _, s := range sections {
		err := b.Add(pe.NewSection{Name: s.Name, Data: [][]byte{s.Data}, Characteristics: pe.SectionInitializedData | pe.SectionRead})
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// SmallPE returns the usual small image.
func SmallPE(t testing.TB) []byte {
	t.Helper()
	return PE(t, Section{".text", []byte("code")}, Section{".cmdline", []byte("quiet")})
}

// CertDirectory returns the offset of the certificate table's directory
// entry in a PE32+ file.
func CertDirectory(b []byte) int {
	return int(binary.LittleEndian.Uint32(b[0x3c:])) + 24 + 112 + 4*8
}

// Attach adds entries to the certificate table of file, after those that are
// there, and returns a new file. Each message becomes one entry of type
// PKCS#7, padded to 8 bytes.
func Attach(file []byte, messages ...[]byte) []byte {
	out := append([]byte(nil), file...)
	dir := CertDirectory(out)
	off := binary.LittleEndian.Uint32(out[dir:])
	if off == 0 {
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
		off = uint32(len(out))
	}
	for _, m := range messages {
		out = binary.LittleEndian.AppendUint32(out, uint32(8+len(m)))
		out = binary.LittleEndian.AppendUint16(out, pe.CertRevision2)
		out = binary.LittleEndian.AppendUint16(out, pe.CertTypePKCS)
		out = append(out, m...)
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
	}
	binary.LittleEndian.PutUint32(out[dir:], off)
	binary.LittleEndian.PutUint32(out[dir+4:], uint32(len(out))-off)
	return out
}
