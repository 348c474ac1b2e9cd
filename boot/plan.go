// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/peelboot/peel/image"
)

// MaxSegments is how many segments kexec_load takes (uapi/linux/kexec.h,
// KEXEC_SEGMENT_MAX).
const MaxSegments = 16

// Plan is all it takes to start a kernel.
type Plan struct {
	Arch image.Arch `json:"arch"`
	// Kind is that of the kernel.
	Kind image.Kind `json:"kind"`
	// Crash tells that the plan is for the crash region.
	Crash bool `json:"crash,omitempty"`
	// Entry is the physical address at which the processor starts, in the
	// state in which the running kernel's kexec leaves it.
	Entry uint64 `json:"entry"`
	// Segments are sorted by address.
	Segments []Segment `json:"segments"`
	// HandOver is what the kernel finds, decoded.
	HandOver HandOver `json:"hand_over"`
	// Preview says why the plan is only for looking at, or is empty: it was
	// made for memory that was guessed, and must not be loaded.
	Preview string `json:"preview,omitempty"`
	// Notes tell what was decided or left out, for people.
	Notes []string `json:"notes,omitempty"`
}

// Segment is a piece of physical memory with what is to be in it.
type Segment struct {
	Name string `json:"name"`
	// Phys is the physical address, MemSize the size in bytes, both multiples
	// of the page size. What Data does not fill is zero.
	Phys    uint64 `json:"phys"`
	MemSize uint64 `json:"mem_size"`
	// Data is a view and not to be written to.
	Data []byte `json:"-"`
	// Align is the alignment that the protocol asks for, and Max the address
	// that it must not go beyond (0 is no limit).
	Align uint64 `json:"align"`
	Max   uint64 `json:"max,omitempty"`
	// Origin is the image.Part that Data is a view of; "" for what peel made.
	Origin string `json:"origin,omitempty"`
	// Private tells that no digest of Data is to be shown: it holds seeds, and
	// so is another in each plan, or virtual addresses of the running kernel,
	// of which there are few enough to try all.
	Private bool `json:"-"`
}

// MarshalJSON adds size and digest of Data to the fields.
func (s Segment) MarshalJSON() ([]byte, error) {
	type fields Segment
	v := struct {
		fields
		Size   int    `json:"size"`
		SHA256 string `json:"sha256,omitempty"`
	}{fields: fields(s), Size: len(s.Data)}
	if !s.Private {
		v.SHA256 = fmt.Sprintf("%x", s.Digest())
	}
	return json.Marshal(v)
}

// Range returns the memory of the segment.
func (s *Segment) Range() Range { return Range{s.Phys, s.Phys + s.MemSize} }

// Digest returns the SHA-256 digest of Data.
func (s *Segment) Digest() [sha256.Size]byte { return sha256.Sum256(s.Data) }

// Total returns the memory that all segments take in bytes.
func (p *Plan) Total() uint64 {
	var n uint64
	for i := range p.Segments {
		n += p.Segments[i].MemSize
	}
	return n
}

// Segment returns the first segment of a name, or nil.
func (p *Plan) Segment(name string) *Segment {
	for i := range p.Segments {
		if p.Segments[i].Name == name {
			return &p.Segments[i]
		}
	}
	return nil
}

// HandOver is what the kernel is given beside its own image.
type HandOver struct {
	Cmdline string `json:"cmdline"`
	// KernelEntry is where the kernel itself is entered.
	KernelEntry uint64 `json:"kernel_entry"`
	// Initrd is where the kernel finds the initial RAM disk, or nil.
	Initrd *Range `json:"initrd,omitempty"`
	// BootParams is for x86.
	BootParams *BootParamsInfo `json:"boot_params,omitempty"`
	// DeviceTree is for arm64 and riscv64.
	DeviceTree *DeviceTreeInfo `json:"device_tree,omitempty"`
	// CoreHeader is where a crash kernel finds the ELF core header.
	CoreHeader *Range `json:"core_header,omitempty"`
}

// add places a segment. MemSize is rounded up to pages.
func (p *Plan) add(s Segment, page uint64) error {
	size, ok := roundUp(max(s.MemSize, uint64(len(s.Data))), page)
	if !ok || size == 0 {
		return fmt.Errorf("segment %s of %#x bytes: %w", s.Name, s.MemSize, ErrLimit)
	}
	s.MemSize = size
	s.Align = max(s.Align, page)
	p.Segments = append(p.Segments, s)
	return nil
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Plan) sort() {
	slices.SortStableFunc(p.Segments, func(a, b Segment) int {
		if a.Phys < b.Phys {
			return -1
		} else if a.Phys > b.Phys {
			return 1
		}
		return 0
	})
}

// Validate checks what kexec_load checks and what the kernel to be started
// relies on: at most MaxSegments segments, each in usable RAM (or the crash
// region), on page boundaries and on its alignment, below its limit, none
// over another; the entry inside of what is loaded; all of it together in
// less than half of the RAM (kernel/kexec_core.c, sanity_check_segment_list).
func (p *Plan) Validate(h *Host) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("boot: %s: %w", fmt.Sprintf(format, args...), ErrInvalid)
	}
	if len(p.Segments) == 0 || len(p.Segments) > MaxSegments {
		return bad("%d segments, want 1 to %d", len(p.Segments), MaxSegments)
	}
	space, err := h.space(p.Crash)
	if err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	var ram uint64
	for _, r := range space.Free() {
		ram += r.Size()
	}
	page := h.pageSize()
	entered := false
	var total uint64
	for i := range p.Segments {
		s := &p.Segments[i]
		end := s.Phys + s.MemSize
		switch {
		case s.MemSize == 0 || end < s.Phys:
			return bad("segment %s at %#x has %#x bytes", s.Name, s.Phys, s.MemSize)
		case s.Phys%page != 0 || s.MemSize%page != 0:
			return bad("segment %s %#x+%#x is not made of pages of %#x bytes", s.Name, s.Phys, s.MemSize, page)
		case s.Align > page && s.Phys%s.Align != 0:
			return bad("segment %s at %#x is not aligned to %#x", s.Name, s.Phys, s.Align)
		case uint64(len(s.Data)) > s.MemSize:
			return bad("segment %s holds %#x bytes in %#x", s.Name, len(s.Data), s.MemSize)
		case s.Max != 0 && end > s.Max:
			return bad("segment %s %#x+%#x exceeds %#x", s.Name, s.Phys, s.MemSize, s.Max)
		}
		if err := space.TakeAt(s.Range()); err != nil {
			return bad("segment %s: %v", s.Name, err)
		}
		if p.Entry >= s.Phys && p.Entry-s.Phys < uint64(len(s.Data)) {
			entered = true
		}
		total += s.MemSize // none overlaps another, so this cannot wrap
	}
	if !entered {
		return bad("entry %#x is in no segment", p.Entry)
	}
	if !p.Crash && total > ram/2 {
		return bad("segments take %#x bytes of %#x usable ones, the kernel allows half", total, ram)
	}
	return nil
}

// finish sorts and validates a new plan.
func (p *Plan) finish(h *Host) (*Plan, error) {
	p.sort()
	if err := p.Validate(h); err != nil {
		return nil, err
	}
	return p, nil
}

// String returns the plan for people.
func (p *Plan) String() string {
	var b strings.Builder
	kind := string(p.Kind)
	if p.Crash {
		kind += ", crash kernel"
	}
	fmt.Fprintf(&b, "%s %s, entry %#x, kernel at %#x\n", p.Arch, kind, p.Entry, p.HandOver.KernelEntry)
	for i := range p.Segments {
		s := &p.Segments[i]
		fmt.Fprintf(&b, "  %-12s %#012x + %#010x  %#x bytes", s.Name, s.Phys, s.MemSize, len(s.Data))
		if s.Origin != "" {
			fmt.Fprintf(&b, " of %s", s.Origin)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "command line: %q\n", p.HandOver.Cmdline)
	if r := p.HandOver.Initrd; r != nil {
		fmt.Fprintf(&b, "initrd: %v\n", *r)
	}
	if r := p.HandOver.CoreHeader; r != nil {
		fmt.Fprintf(&b, "ELF core header: %v\n", *r)
	}
	if i := p.HandOver.BootParams; i != nil {
		b.WriteString(i.String())
	}
	if i := p.HandOver.DeviceTree; i != nil {
		b.WriteString(i.String())
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if p.Preview != "" {
		fmt.Fprintf(&b, "preview, not to be loaded: %s\n", p.Preview)
	}
	return b.String()
}
