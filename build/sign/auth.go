// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/peelboot/peel/trust/esl"
)

// Attributes of the Secure Boot variables (UEFI specification, section 8.2):
// non-volatile, boot service access, runtime access, time-based authenticated
// write access; and append.
const (
	VariableSecureBoot = 0x01 | 0x02 | 0x04 | 0x20
	VariableAppend     = 0x40
)

// Update describes the write of one authenticated variable.
type Update struct {
	// Name and Vendor of the variable: "PK", esl.GlobalVariable.
	Name   string
	Vendor esl.GUID
	// Attributes that the write will have: VariableSecureBoot, possibly with
	// VariableAppend. They are signed.
	Attributes uint32
	// Time is what firmware compares with that of the write before: later,
	// unless it appends. Seconds count.
	Time time.Time
	// Contents are the new contents, usually signature lists; empty deletes
	// the variable.
	Contents []byte
}

// Auth returns the contents of an .auth file: the update signed with k, which
// is a key of the list that guards the variable. The layout is EFI_TIME, a
// WIN_CERTIFICATE_UEFI_GUID with the bare SignedData, and the contents (UEFI
// specification, section 8.2.2).
func Auth(u Update, k Key) ([]byte, error) {
	const header, maxContents = 8 + 16, esl.MaxSize
	if u.Name == "" || len(u.Contents) > maxContents {
		return nil, fmt.Errorf("%w: variable %q of 0x%x bytes", ErrLimit, u.Name, len(u.Contents))
	}
	t := u.Time.UTC()
	if t.Year() < 1900 || t.Year() > 9999 {
		return nil, fmt.Errorf("%w: year %d", ErrLimit, t.Year())
	}
	stamp := make([]byte, 16)
	binary.LittleEndian.PutUint16(stamp, uint16(t.Year()))
	stamp[2], stamp[3] = byte(t.Month()), byte(t.Day())
	stamp[4], stamp[5], stamp[6] = byte(t.Hour()), byte(t.Minute()), byte(t.Second())

	// What is signed: name without NUL, vendor, attributes, time, contents.
	var signed []byte
	for _, c := range utf16.Encode([]rune(u.Name)) {
		signed = binary.LittleEndian.AppendUint16(signed, c)
	}
	signed = append(signed, u.Vendor[:]...)
	signed = binary.LittleEndian.AppendUint32(signed, u.Attributes)
	signed = append(signed, stamp...)
	signed = append(signed, u.Contents...)
	// Firmware takes SHA-256 here and, before UEFI 2.10, nothing else.
	m, err := Detached(signed, k, Options{NoAttributes: true})
	if err != nil {
		return nil, err
	}
	if m, err = bareSignedData(m); err != nil {
		return nil, err
	}
	guid, err := esl.ParseGUID("4aafd29d-68df-49ee-8aa9-347d375665a7") // EFI_CERT_TYPE_PKCS7_GUID
	if err != nil {
		return nil, err
	}
	out := binary.LittleEndian.AppendUint32(stamp, uint32(header+len(m)))
	out = binary.LittleEndian.AppendUint16(out, 0x0200)
	out = binary.LittleEndian.AppendUint16(out, 0x0ef1) // WIN_CERT_TYPE_EFI_GUID
	out = append(out, guid[:]...)
	out = append(out, m...)
	return append(out, u.Contents...), nil
}

// bareSignedData takes the ContentInfo off a message: older firmware wants
// the SignedData itself, newer takes both.
func bareSignedData(m []byte) ([]byte, error) {
	s := cryptobyte.String(m)
	var info, inner cryptobyte.String
	if !s.ReadASN1(&info, cbasn1.SEQUENCE) || !info.SkipASN1(cbasn1.OBJECT_IDENTIFIER) || !info.ReadASN1(&inner, tagged(0)) {
		return nil, fmt.Errorf("%w: message without content", ErrLimit)
	}
	return inner, nil
}
