// SPDX-License-Identifier: Apache-2.0

package esl

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Update is an authenticated variable update: EFI_VARIABLE_AUTHENTICATION_2
// (UEFI specification, section 8.2.2) and the new contents.
type Update struct {
	// Time is the update's time stamp, UTC.
	Time time.Time
	// CMS is the detached message that authorises the update. It is shown
	// but not judged: only firmware that holds PK and KEK can do that.
	CMS []byte
	// Contents of the variable, usually signature lists.
	Contents []byte
}

// certTypePKCS7 is EFI_CERT_TYPE_PKCS7_GUID.
const certTypePKCS7 = "4aafd29d-68df-49ee-8aa9-347d375665a7"

// authHeader is EFI_TIME and the fixed part of WIN_CERTIFICATE_UEFI_GUID:
// u32 length, u16 revision 0x0200, u16 type 0x0EF1, GUID.
const authHeader = 16 + 8 + 16

// IsAuth reports whether b looks like an authenticated update.
func IsAuth(b []byte) bool {
	if len(b) < authHeader || binary.LittleEndian.Uint16(b[20:]) != 0x0200 ||
		binary.LittleEndian.Uint16(b[22:]) != 0x0ef1 {
		return false
	}
	var g GUID
	copy(g[:], b[24:])
	return g.String() == certTypePKCS7
}

// ParseAuth reads an .auth file.
func ParseAuth(b []byte) (*Update, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("0x%x bytes, at most 0x%x: %w", len(b), MaxSize, ErrLimit)
	}
	if !IsAuth(b) {
		return nil, fmt.Errorf("no authenticated variable header: %w", ErrSyntax)
	}
	t, err := readTime(b)
	if err != nil {
		return nil, err
	}
	size := uint64(binary.LittleEndian.Uint32(b[16:]))
	if size < authHeader-16 || size > uint64(len(b)-16) {
		return nil, fmt.Errorf("certificate of 0x%x bytes in 0x%x: %w", size, len(b)-16, ErrTruncated)
	}
	return &Update{Time: t, CMS: b[authHeader : 16+size], Contents: b[16+size:]}, nil
}

// Variable is one variable as efivarfs shows it.
type Variable struct {
	// Attributes are the EFI_VARIABLE_ attribute bits.
	Attributes uint32
	Data       []byte
}

// ParseVariable splits the contents of an efivarfs file: little-endian u32
// attributes, then the data (Documentation/filesystems/efivarfs.rst).
func ParseVariable(b []byte) (Variable, error) {
	if len(b) < 4 {
		return Variable{}, fmt.Errorf("variable of %d bytes: %w", len(b), ErrTruncated)
	}
	return Variable{Attributes: binary.LittleEndian.Uint32(b), Data: b[4:]}, nil
}
