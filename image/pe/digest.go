// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"cmp"
	"crypto"
	_ "crypto/sha1"   // for Digest
	_ "crypto/sha256" // for Digest
	_ "crypto/sha512" // for Digest
	"fmt"
	"slices"
)

// Digest returns the Authenticode digest of the image, computed the way
// firmware computes it: the headers without CheckSum and without the
// certificate table's directory entry; then the raw data of the sections in
// the order of the file; then what lies between the number of bytes hashed so
// far, taken as an offset in the file, and the certificate table.
//
// h is SHA-1, SHA-256, SHA-384 or SHA-512, else ErrHash. It fails with
// ErrTrailingData when data follows the certificate table.
//
// It never pads: for an unsigned file whose length is no multiple of eight it
// is the digest that firmware looks up in db and dbx. See SigningDigest.
func (f *File) Digest(h crypto.Hash) ([]byte, error) { return f.digest(h, 0) }

// SigningDigest returns the digest that a signature of the image contains.
// Signing tools pad an unsigned file with zeros to a multiple of eight bytes
// first, since the certificate table must begin there; SigningDigest is the
// Digest of the padded file. For a signed file it equals Digest.
func (f *File) SigningDigest(h crypto.Hash) ([]byte, error) {
	if f.CertTable.Size > 0 {
		return f.digest(h, 0)
	}
	return f.digest(h, Padding(int64(len(f.Raw))))
}

func (f *File) digest(h crypto.Hash, padding int) ([]byte, error) {
	switch h {
	case crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return nil, fmt.Errorf("%w: %v", ErrHash, h)
	}
	extents, err := f.HashedExtents()
	if err != nil {
		return nil, err
	}
	d := h.New()
	for _, e := range extents {
		d.Write(f.Raw[e.Offset:e.End()])
	}
	d.Write(make([]byte, padding))
	return d.Sum(nil), nil
}

// HashedExtents returns the runs of bytes that Digest hashes, in its order.
func (f *File) HashedExtents() ([]Extent, error) {
	size := uint64(len(f.Raw))
	if f.CertTable.Size > 0 && f.CertTable.End() != size {
		return nil, fmt.Errorf("%w: table ends at 0x%x, file at 0x%x", ErrTrailingData, f.CertTable.End(), size)
	}
	headers := uint64(f.SizeOfHeaders)
	var list []Extent
	add := func(from, to uint64) {
		if from < to {
			list = append(list, Extent{from, to - from})
		}
	}
	checksum := f.optional + offChecksum
	add(0, checksum)
	if len(f.Directories) > DirCertificate {
		entry := f.directoryOffset(DirCertificate)
		add(checksum+4, entry)
		add(entry+directorySize, headers)
	} else {
		add(checksum+4, headers)
	}

	sum := headers
	for _, r := range f.rawExtents() {
		add(r.Offset, r.End())
		sum += r.Size
	}
	rest := size - f.CertTable.Size
	if sum > rest {
		// Cannot be while sections do not overlap; firmware refuses it.
		return nil, fmt.Errorf("%w: headers and sections of 0x%x bytes, 0x%x before the certificate table", ErrDigest, sum, rest)
	}
	add(sum, rest)
	return list, nil
}

// Unhashed returns the runs of bytes that Digest does not cover, apart from
// CheckSum, the certificate table and its directory entry. Only an image with
// gaps between its sections has any: they can change under a signature, so
// nothing that matters may be read from there.
func (f *File) Unhashed() []Extent {
	var gaps []Extent
	at := uint64(f.SizeOfHeaders)
	sum := at
	for _, r := range f.rawExtents() {
		if r.Offset > at {
			gaps = append(gaps, Extent{at, r.Offset - at})
		}
		at = r.End()
		sum += r.Size
	}
	// The last run starts at the number of bytes hashed, which gaps move to
	// the front: it covers whatever part of a gap lies behind that.
	var left []Extent
	for _, g := range gaps {
		if end := min(g.End(), max(sum, g.Offset)); end > g.Offset {
			left = append(left, Extent{g.Offset, end - g.Offset})
		}
	}
	return left
}

// rawExtents returns the raw data of all sections in the order of the file.
func (f *File) rawExtents() []Extent {
	list := make([]Extent, 0, len(f.Sections))
	for _, s := range f.Sections {
		if r := s.Raw(); r.Size > 0 {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	return list
}

// directoryOffset returns where in the file data directory number i stands.
func (f *File) directoryOffset(i int) uint64 {
	fixed := uint64(optionalFixed32)
	if f.Plus {
		fixed = optionalFixed64
	}
	return f.optional + fixed + uint64(i)*directorySize
}
