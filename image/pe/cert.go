// SPDX-License-Identifier: Apache-2.0

package pe

import "fmt"

const (
	// certAlign is the alignment of the certificate table and of each entry.
	certAlign = 8
	// certHeaderSize is the size of WIN_CERTIFICATE without its data.
	certHeaderSize = 8
	// maxCertificates bounds the entries of one table.
	maxCertificates = 256
)

// Values of Certificate.Type and Certificate.Revision (UEFI specification,
// section 32.2.4, WIN_CERTIFICATE).
const (
	CertTypePKCS  = 0x0002 // Authenticode: PKCS#7 SignedData
	CertRevision2 = 0x0200
)

// Certificate is an entry of the certificate table, a WIN_CERTIFICATE.
type Certificate struct {
	Revision uint16
	Type     uint16
	// Offset is the offset of the entry's header in the file.
	Offset uint64
	// Data is what follows the eight header bytes, a view of the file. It
	// may end with padding.
	Data []byte
}

// Certificates returns the entries of the certificate table, none when there
// is no table. It fails with ErrCertificate when the length of an entry
// contradicts the table.
func (f *File) Certificates() ([]Certificate, error) {
	var list []Certificate
	at, end := f.CertTable.Offset, f.CertTable.End()
	for at < end {
		if end-at < certHeaderSize {
			return nil, fmt.Errorf("%w: %d bytes left at 0x%x, a header has %d", ErrCertificate, end-at, at, certHeaderSize)
		}
		h := f.Raw[at:end]
		n := uint64(le.Uint32(h))
		if n < certHeaderSize || n > end-at {
			return nil, fmt.Errorf("%w: length 0x%x at 0x%x, table ends at 0x%x", ErrCertificate, n, at, end)
		}
		if len(list) == maxCertificates {
			return nil, fmt.Errorf("%w: more than %d entries, the next at 0x%x", ErrCertificate, maxCertificates, at)
		}
		list = append(list, Certificate{
			Revision: le.Uint16(h[4:]),
			Type:     le.Uint16(h[6:]),
			Offset:   at,
			Data:     h[certHeaderSize:n:n],
		})
		at += (n + certAlign - 1) &^ (certAlign - 1)
	}
	return list, nil
}
