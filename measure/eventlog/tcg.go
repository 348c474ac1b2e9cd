// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	specIDSignature = "Spec ID Event03\x00"
	header12        = 32 // PCR, type, SHA-1 digest, size
)

// isSpecID reports whether b begins with the event that opens a crypto-agile
// log. Its register is 0 in the log of a TPM; in that of a confidential machine,
// where 0 is the register of the initial memory, it is 1.
func isSpecID(b []byte) bool {
	le := binary.LittleEndian
	return len(b) >= header12+len(specIDSignature) && le.Uint32(b) <= 1 && Type(le.Uint32(b[4:])) == NoAction &&
		string(b[header12:header12+len(specIDSignature)]) == specIDSignature
}

// looksLikeTCG12 reports whether b can begin with a TCG_PCR_EVENT.
func looksLikeTCG12(b []byte) bool {
	if len(b) < header12 {
		return false
	}
	le := binary.LittleEndian
	_, known := typeNames()[Type(le.Uint32(b[4:]))]
	return le.Uint32(b) <= maxPCR && known && uint64(le.Uint32(b[28:])) <= uint64(len(b)-header12)
}

// ReadTCG reads the firmware's log, as Linux shows it in
// /sys/kernel/security/tpm0/binary_bios_measurements: crypto agile when it
// begins with a "Spec ID Event03", else SHA-1 only. All numbers are little
// endian. Zero bytes or 0xff bytes up to the end are room that was not used.
//
// The log of a confidential machine (ACPI table CCEL) has the same form; its
// registers are indices of measurement registers, 1 being RTMR 0 of Intel TDX
// (UEFI 2.10, section 38.4).
func ReadTCG(b []byte) (*Log, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("0x%x bytes, at most 0x%x: %w", len(b), MaxSize, ErrLimit)
	}
	if !isSpecID(b) {
		return readTCG12(b)
	}
	l := &Log{Format: TCG2, sizes: map[Hash]int{}}
	at, err := l.readSpecID(b)
	if err != nil {
		return nil, err
	}
	for at < uint64(len(b)) && !blank(b[at:]) {
		if len(l.Events) == MaxEvents {
			return nil, fmt.Errorf("more than %d events: %w", MaxEvents, ErrLimit)
		}
		next, err := l.readEvent2(b, at)
		if err != nil {
			return nil, fmt.Errorf("event %d at 0x%x: %w", len(l.Events), at, err)
		}
		at = next
	}
	return l, nil
}

// readSpecID reads the TCG_EfiSpecIDEvent: 16 bytes of signature, u32
// platform class, u8 minor, major, errata and uintn size, u32 count, per
// algorithm u16 number and u16 size, u8 size of vendor data.
func (l *Log) readSpecID(b []byte) (uint64, error) {
	le := binary.LittleEndian
	size := uint64(le.Uint32(b[28:]))
	data, err := clip(b, header12, size, "spec ID event")
	if err != nil {
		return 0, err
	}
	if len(data) < 28 {
		return 0, fmt.Errorf("spec ID event of %d bytes: %w", len(data), ErrSyntax)
	}
	l.Class = le.Uint32(data[16:])
	n := uint64(le.Uint32(data[24:]))
	if n == 0 || n > maxDigests {
		return 0, fmt.Errorf("%d algorithms, 1 to %d make sense: %w", n, maxDigests, ErrSyntax)
	}
	list, err := clip(data, 28, n*4, "list of algorithms")
	if err != nil {
		return 0, err
	}
	for ; len(list) > 0; list = list[4:] {
		h, digest := Hash(le.Uint16(list)), int(le.Uint16(list[2:]))
		if want := h.Size(); want != 0 && want != digest || digest == 0 || digest > 128 || l.sizes[h] != 0 {
			return 0, fmt.Errorf("algorithm %s with digests of %d bytes: %w", h, digest, ErrSyntax)
		}
		l.Banks = append(l.Banks, h)
		l.sizes[h] = digest
	}
	return header12 + size, nil
}

// readEvent2 reads a TCG_PCR_EVENT2: u32 PCR, u32 type, u32 count, per digest
// u16 algorithm and the digest, u32 size, data.
func (l *Log) readEvent2(b []byte, at uint64) (uint64, error) {
	le := binary.LittleEndian
	head, err := clip(b, at, 12, "header")
	if err != nil {
		return 0, err
	}
	e := Event{PCR: le.Uint32(head), Type: Type(le.Uint32(head[4:])), Content: PCClient}
	n := le.Uint32(head[8:])
	if err := e.checkRegister(); err != nil {
		return 0, err
	}
	if uint64(n) != uint64(len(l.Banks)) {
		return 0, fmt.Errorf("%d digests, the log has %d banks: %w", n, len(l.Banks), ErrSyntax)
	}
	at += 12
	for range n {
		id, err := clip(b, at, 2, "algorithm")
		if err != nil {
			return 0, err
		}
		h := Hash(le.Uint16(id))
		size, ok := l.sizes[h]
		if _, twice := e.Digest(h); !ok || twice {
			return 0, fmt.Errorf("digest of %s at 0x%x: %w", h, at, ErrSyntax)
		}
		v, err := clip(b, at+2, uint64(size), "digest")
		if err != nil {
			return 0, err
		}
		e.Digests = append(e.Digests, Digest{h, v})
		at += 2 + uint64(size)
	}
	if at, err = e.readData(b, at); err != nil {
		return 0, err
	}
	l.Events = append(l.Events, e)
	return at, nil
}

// readData reads u32 size and the data, and returns where they end.
func (e *Event) readData(b []byte, at uint64) (uint64, error) {
	size, err := clip(b, at, 4, "size of data")
	if err != nil {
		return 0, err
	}
	n := uint64(binary.LittleEndian.Uint32(size))
	e.Data, err = clip(b, at+4, n, "data")
	return at + 4 + n, err
}

func readTCG12(b []byte) (*Log, error) {
	le := binary.LittleEndian
	l := &Log{Format: TCG12, Banks: []Hash{SHA1}, sizes: map[Hash]int{SHA1: 20}}
	for at := uint64(0); at < uint64(len(b)) && !blank(b[at:]); {
		if len(l.Events) == MaxEvents {
			return nil, fmt.Errorf("more than %d events: %w", MaxEvents, ErrLimit)
		}
		head, err := clip(b, at, 28, "header")
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", len(l.Events), err)
		}
		e := Event{PCR: le.Uint32(head), Type: Type(le.Uint32(head[4:])), Content: PCClient, Digests: []Digest{{SHA1, head[8:28:28]}}}
		if err := e.checkRegister(); err != nil {
			return nil, fmt.Errorf("event %d at 0x%x: %w", len(l.Events), at, err)
		}
		if at, err = e.readData(b, at+28); err != nil {
			return nil, fmt.Errorf("event %d: %w", len(l.Events), err)
		}
		l.Events = append(l.Events, e)
	}
	if len(l.Events) == 0 {
		return nil, fmt.Errorf("%d bytes without an event: %w", len(b), ErrUnknown)
	}
	return l, nil
}

// blank reports whether all of b is zero, or all 0xff.
func blank(b []byte) bool {
	for _, c := range b {
		if c != b[0] || c != 0 && c != 0xff {
			return false
		}
	}
	return true
}

// WriteTCG writes a crypto-agile log of the banks of l. It fails with ErrWrite
// when an event is not of a PC client type or lacks a digest.
func (l *Log) WriteTCG() ([]byte, error) {
	if len(l.Banks) == 0 || len(l.Banks) > maxDigests {
		return nil, fmt.Errorf("%d banks: %w", len(l.Banks), ErrWrite)
	}
	le := binary.LittleEndian
	spec := append([]byte(specIDSignature), 0, 0, 0, 0, 0, 2, 0, 2) // 2.0 errata 0, uintn of 64 bits
	le.PutUint32(spec[16:], l.Class)
	spec = le.AppendUint32(spec, uint32(len(l.Banks)))
	for i, h := range l.Banks {
		if slices.Index(l.Banks, h) != i || l.digestSize(h) == 0 {
			return nil, fmt.Errorf("bank %s: %w", h, ErrWrite)
		}
		spec = le.AppendUint16(spec, uint16(h))
		spec = le.AppendUint16(spec, uint16(l.digestSize(h)))
	}
	spec = append(spec, 0)
	out := make([]byte, 28, 1024)
	le.PutUint32(out[4:], uint32(NoAction))
	out = le.AppendUint32(out, uint32(len(spec)))
	out = append(out, spec...)
	for i := range l.Events {
		e := &l.Events[i]
		if e.Content != PCClient || uint64(len(e.Data)) > MaxSize {
			return nil, fmt.Errorf("event %d is %s of 0x%x bytes: %w", i, e.Content, len(e.Data), ErrWrite)
		}
		out = le.AppendUint32(out, e.PCR)
		out = le.AppendUint32(out, uint32(e.Type))
		out = le.AppendUint32(out, uint32(len(l.Banks)))
		for _, h := range l.Banks {
			v, ok := e.Digest(h)
			if !ok || len(v) != l.digestSize(h) {
				return nil, fmt.Errorf("event %d has no %s digest: %w", i, h, ErrWrite)
			}
			out = le.AppendUint16(out, uint16(h))
			out = append(out, v...)
		}
		out = le.AppendUint32(out, uint32(len(e.Data)))
		out = append(out, e.Data...)
	}
	return out, nil
}

func (l *Log) digestSize(h Hash) int {
	if n := h.Size(); n != 0 {
		return n
	}
	return l.sizes[h]
}
