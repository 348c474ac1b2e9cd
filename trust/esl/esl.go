// SPDX-License-Identifier: Apache-2.0

package esl

import (
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrSyntax: the bytes are not what they should be.
	ErrSyntax = errors.New("malformed EFI signature list")
	// ErrTruncated: a size points past the end.
	ErrTruncated = errors.New("truncated EFI signature list")
	// ErrLimit: more than this package reads.
	ErrLimit = errors.New("EFI signature list limit exceeded")
)

// Limits on one variable. Firmware variables are at most some 64 KiB; files
// of the UEFI Forum's revocation list some 25 KiB.
const (
	MaxSize    = 4 << 20
	MaxEntries = 65536
)

// Type is the kind of one entry.
type Type string

// The kinds of entry (UEFI specification, section 32.4.1, "EFI_SIGNATURE_LIST").
const (
	X509       Type = "x509"        // a DER certificate
	SHA1       Type = "sha1"        // Authenticode digest of an image
	SHA224     Type = "sha224"      //
	SHA256     Type = "sha256"      //
	SHA384     Type = "sha384"      //
	SHA512     Type = "sha512"      //
	X509SHA256 Type = "x509_sha256" // digest of a certificate's TBS part, then a time of revocation
	X509SHA384 Type = "x509_sha384" //
	X509SHA512 Type = "x509_sha512" //
	RSA2048    Type = "rsa2048"     // a bare modulus; no current firmware uses it
	PKCS7      Type = "pkcs7"       // not used for images
	Unknown    Type = "unknown"     // a GUID this package does not know
)

// Hash returns the digest algorithm of the hash types, 0 for the others.
func (t Type) Hash() crypto.Hash {
	switch t {
	case SHA1:
		return crypto.SHA1
	case SHA224:
		return crypto.SHA224
	case SHA256, X509SHA256:
		return crypto.SHA256
	case SHA384, X509SHA384:
		return crypto.SHA384
	case SHA512, X509SHA512:
		return crypto.SHA512
	}
	return 0
}

// TBS reports whether the type is a digest of a certificate.
func (t Type) TBS() bool { return t == X509SHA256 || t == X509SHA384 || t == X509SHA512 }

func types() map[string]Type {
	return map[string]Type{
		"a5c059a1-94e4-4aa7-87b5-ab155c2bf072": X509,
		"826ca512-cf10-4ac9-b187-be01496631bd": SHA1,
		"0b6e5233-a65c-44c9-9407-d9ab83bfc8bd": SHA224,
		"c1c41626-504c-4092-aca9-41f936934328": SHA256,
		"ff3e5307-9fd0-48c9-85f1-8ad56c701e01": SHA384,
		"093e0fae-a6c4-4f50-9f1b-d41e2b89c19a": SHA512,
		"3bd2a492-96c0-4079-b420-fcf98ef103ed": X509SHA256,
		"7076876e-80c2-4ee6-aad2-28b349a6865b": X509SHA384,
		"446dbf63-2502-4cda-bcfa-2465d2b0fe9d": X509SHA512,
		"3c5766e8-269c-4e34-aa14-ed776e85b3b6": RSA2048,
		"4aafd29d-68df-49ee-8aa9-347d375665a7": PKCS7,
	}
}

// typeOf returns the type of g, Unknown when it is none of ours.
func typeOf(g GUID) Type {
	if t, ok := types()[g.String()]; ok {
		return t
	}
	return Unknown
}

// guidOf returns the GUID of t.
func guidOf(t Type) (GUID, error) {
	for s, v := range types() {
		if v == t {
			return ParseGUID(s)
		}
	}
	return GUID{}, fmt.Errorf("type %q: %w", t, ErrSyntax)
}

// Entry is one signature of a list.
type Entry struct {
	Type Type
	// TypeGUID tells unknown types apart.
	TypeGUID GUID
	// Owner is who put the entry there.
	Owner GUID
	// Data is the certificate or digest, a view of the input.
	Data []byte
	// Revoked is the time from which a TBS digest denies; zero means always.
	Revoked time.Time
	// Offset of the entry in the input, in bytes.
	Offset uint64
}

const listHeader = 28

// Parse reads a sequence of EFI_SIGNATURE_LIST structures: GUID type, u32
// list size, u32 header size, u32 signature size (little endian), header,
// signatures of equal size, each a 16-byte owner and the data. An empty
// input is an empty list.
func Parse(b []byte) ([]Entry, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("0x%x bytes, at most 0x%x: %w", len(b), MaxSize, ErrLimit)
	}
	var out []Entry
	for off := uint64(0); off < uint64(len(b)); {
		rest := b[off:]
		if len(rest) < listHeader {
			return nil, fmt.Errorf("list at 0x%x: %d bytes left, header needs %d: %w", off, len(rest), listHeader, ErrTruncated)
		}
		var g GUID
		copy(g[:], rest)
		size := uint64(binary.LittleEndian.Uint32(rest[16:]))
		head := uint64(binary.LittleEndian.Uint32(rest[20:]))
		each := uint64(binary.LittleEndian.Uint32(rest[24:]))
		if size > uint64(len(rest)) {
			return nil, fmt.Errorf("list at 0x%x of 0x%x bytes, 0x%x left: %w", off, size, len(rest), ErrTruncated)
		}
		if size < listHeader+head || each < 16 || (size-listHeader-head)%each != 0 {
			return nil, fmt.Errorf("list at 0x%x: size 0x%x, header 0x%x, signature 0x%x do not fit together: %w",
				off, size, head, each, ErrSyntax)
		}
		for p := listHeader + head; p < size; p += each {
			if len(out) == MaxEntries {
				return nil, fmt.Errorf("more than %d entries: %w", MaxEntries, ErrLimit)
			}
			e := Entry{TypeGUID: g, Type: typeOf(g), Offset: off + p}
			copy(e.Owner[:], rest[p:])
			e.Data = rest[p+16 : p+each]
			if err := e.check(); err != nil {
				return nil, fmt.Errorf("entry at 0x%x: %w", e.Offset, err)
			}
			out = append(out, e)
		}
		off += size
	}
	return out, nil
}

// check enforces the size of hash entries and splits off the time.
func (e *Entry) check() error {
	h := e.Type.Hash()
	if h == 0 {
		return nil
	}
	want := h.Size()
	if e.Type.TBS() {
		want += 16
	}
	if len(e.Data) != want {
		return fmt.Errorf("%s of %d bytes, want %d: %w", e.Type, len(e.Data), want, ErrSyntax)
	}
	if e.Type.TBS() {
		t, err := readTime(e.Data[h.Size():])
		if err != nil {
			return err
		}
		e.Revoked = t
		e.Data = e.Data[:h.Size()]
	}
	return nil
}

// readTime reads an EFI_TIME (UEFI specification, section 8.3.1) as UTC. All
// zero is the zero time.
func readTime(b []byte) (time.Time, error) {
	year, month, day := int(binary.LittleEndian.Uint16(b)), int(b[2]), int(b[3])
	hour, minute, second := int(b[4]), int(b[5]), int(b[6])
	if year|month|day|hour|minute|second == 0 {
		return time.Time{}, nil
	}
	if year < 1900 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, fmt.Errorf("time %d-%d-%d %d:%d:%d: %w", year, month, day, hour, minute, second, ErrSyntax)
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC), nil
}

// putTime writes t as an EFI_TIME.
func putTime(t time.Time) []byte {
	b := make([]byte, 16)
	if t.IsZero() {
		return b
	}
	t = t.UTC()
	binary.LittleEndian.PutUint16(b, uint16(t.Year()))
	b[2], b[3], b[4], b[5], b[6] = byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second())
	return b
}

// Marshal writes each entry as a list of its own, which every reader takes
// whatever the entries' sizes.
func Marshal(entries []Entry) ([]byte, error) {
	var out []byte
	for _, e := range entries {
		g := e.TypeGUID
		if e.Type != Unknown {
			var err error
			if g, err = guidOf(e.Type); err != nil {
				return nil, err
			}
		}
		data := e.Data
		if e.Type.TBS() {
			data = append(append([]byte(nil), data...), putTime(e.Revoked)...)
		}
		if uint64(len(data)) > MaxSize {
			return nil, fmt.Errorf("entry of 0x%x bytes: %w", len(data), ErrLimit)
		}
		out = append(out, g[:]...)
		out = binary.LittleEndian.AppendUint32(out, uint32(listHeader+16+len(data)))
		out = binary.LittleEndian.AppendUint32(out, 0)
		out = binary.LittleEndian.AppendUint32(out, uint32(16+len(data)))
		out = append(out, e.Owner[:]...)
		out = append(out, data...)
	}
	return out, nil
}
