// SPDX-License-Identifier: Apache-2.0

package pe

import "errors"

// Errors of this package. Each is wrapped with what was found, where and how
// much.
var (
	// ErrNotPE means that the file does not have the MZ and PE signatures
	// and a PE32 or PE32+ optional header.
	ErrNotPE = errors.New("not a PE image")
	// ErrTruncated means that the file ends inside a header.
	ErrTruncated = errors.New("file ends inside a header")
	// ErrHeader means that header fields contradict each other.
	ErrHeader = errors.New("contradictory header")
	// ErrSectionCount means that there are more than MaxSections sections.
	ErrSectionCount = errors.New("too many sections")
	// ErrSectionBounds means that a section's contents lie outside of the
	// file.
	ErrSectionBounds = errors.New("section exceeds the file")
	// ErrSectionMemory means that a section's addresses lie outside of
	// SizeOfImage.
	ErrSectionMemory = errors.New("section exceeds the image size")
	// ErrSectionOverlap means that two sections, or a section and the
	// headers, share bytes of the file or addresses in memory.
	ErrSectionOverlap = errors.New("overlapping sections")
	// ErrCertTable means that the certificate table lies outside of the
	// file, is misaligned, or shares bytes with headers or sections.
	ErrCertTable = errors.New("bad certificate table")
	// ErrCertificate means that an entry of the certificate table has a
	// length that cannot be true.
	ErrCertificate = errors.New("bad certificate table entry")
	// ErrTrailingData means that data follows the certificate table, where
	// no digest covers it.
	ErrTrailingData = errors.New("data after the certificate table")
	// ErrDigest means that firmware would hash bytes the file does not have.
	ErrDigest = errors.New("image cannot be hashed")
	// ErrHash means that a hash algorithm is not used with Authenticode.
	ErrHash = errors.New("hash algorithm not supported")
)
