// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// lineRecord is one struct bpf_line_info; strings stay offsets until someone
// wants to read them.
type lineRecord struct {
	slot         int
	file, source uint32 // BTF string offsets
	line         uint32
}

func (r lineRecord) at(index int) lineMark {
	return lineMark{index: index, file: r.file, source: r.source, line: int(r.line)}
}

// parseLine decodes struct bpf_line_info; b holds 16 bytes. The instruction
// offset counts unit bytes each.
func parseLine(b []byte, unit uint32) lineRecord {
	le := binary.LittleEndian
	return lineRecord{
		slot: int(le.Uint32(b) / unit), file: le.Uint32(b[4:]), source: le.Uint32(b[8:]),
		line: le.Uint32(b[12:]) >> 10,
	}
}

// parseCore decodes struct bpf_core_relo; b holds 16 bytes.
func (t *BTF) parseCore(b []byte) (coreRecord, error) {
	le := binary.LittleEndian
	off := le.Uint32(b)
	if off%slotBytes != 0 {
		return coreRecord{}, fmt.Errorf("CO-RE record for byte %#x: %w", off, ErrFormat)
	}
	access, err := t.name(le.Uint32(b[8:]))
	if err != nil {
		return coreRecord{}, fmt.Errorf("CO-RE access string: %w", err)
	}
	return coreRecord{index: int(off / slotBytes), typeID: le.Uint32(b[4:]), access: access, kind: coreKind(le.Uint32(b[12:]))}, nil
}

// sortLines sorts by slot and keeps one record for each.
func sortLines(r []lineRecord) []lineRecord {
	slices.SortStableFunc(r, func(a, b lineRecord) int { return cmp.Compare(a.slot, b.slot) })
	return slices.CompactFunc(r, func(a, b lineRecord) bool { return a.slot == b.slot })
}

// loadExt reads .BTF.ext (Documentation/bpf/btf.rst): line information and
// CO-RE records by section. Function names come from the symbol table.
func (l *elfLoader) loadExt(b []byte) error {
	le := binary.LittleEndian
	if len(b) < 24 {
		return fmt.Errorf(".BTF.ext of %#x bytes: %w", len(b), ErrTruncated)
	}
	if le.Uint16(b) != 0xeb9f || b[2] != 1 {
		return fmt.Errorf(".BTF.ext magic %#x, version %d: %w", le.Uint16(b), b[2], ErrFormat)
	}
	head := le.Uint32(b[4:])
	t := l.object.BTF
	total := 0
	count := func() error {
		if total++; total > maxObjectSlots {
			return fmt.Errorf(".BTF.ext: more than %d records: %w", maxObjectSlots, ErrLimit)
		}
		return nil
	}
	err := l.extPart(b, head, le.Uint32(b[16:]), le.Uint32(b[20:]), func(sec string, r []byte) error {
		l.lines[sec] = append(l.lines[sec], parseLine(r, slotBytes))
		return count()
	})
	if err != nil {
		return err
	}
	for sec := range l.lines {
		l.lines[sec] = sortLines(l.lines[sec])
	}
	if head < 32 || len(b) < 32 {
		return nil
	}
	err = l.extPart(b, head, le.Uint32(b[24:]), le.Uint32(b[28:]), func(sec string, r []byte) error {
		rec, err := t.parseCore(r)
		if err != nil {
			return err
		}
		l.relos[sec] = append(l.relos[sec], rec)
		return count()
	})
	if err != nil {
		return err
	}
	for sec := range l.relos {
		slices.SortStableFunc(l.relos[sec], func(a, b coreRecord) int { return cmp.Compare(a.index, b.index) })
	}
	return nil
}

// extPart walks one part of .BTF.ext: the record size, then for each section
// its name, a count and the records.
func (l *elfLoader) extPart(b []byte, head, off, n uint32, each func(section string, record []byte) error) error {
	le := binary.LittleEndian
	if n == 0 {
		return nil
	}
	start, end := uint64(head)+uint64(off), uint64(head)+uint64(off)+uint64(n)
	if end > uint64(len(b)) || n < 4 {
		return fmt.Errorf(".BTF.ext part at %#x+%#x of %#x bytes: %w", start, n, len(b), ErrTruncated)
	}
	b = b[start:end]
	size := uint64(le.Uint32(b))
	if size < 16 || size > 1024 {
		return fmt.Errorf(".BTF.ext records of %d bytes: %w", size, ErrUnsupported)
	}
	for b = b[4:]; len(b) > 0; {
		if len(b) < 8 {
			return fmt.Errorf(".BTF.ext section header: %w", ErrTruncated)
		}
		name, err := l.object.BTF.name(le.Uint32(b))
		if err != nil {
			return err
		}
		count := uint64(le.Uint32(b[4:]))
		b = b[8:]
		if count == 0 || count*size > uint64(len(b)) {
			return fmt.Errorf(".BTF.ext: %d records of %d bytes for %q: %w", count, size, name, ErrTruncated)
		}
		for range count {
			if err := each(name, b[:16]); err != nil {
				return err
			}
			b = b[size:]
		}
	}
	return nil
}
