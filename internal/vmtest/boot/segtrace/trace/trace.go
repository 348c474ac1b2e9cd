// SPDX-License-Identifier: Apache-2.0

// Package trace is what segtrace tells.
package trace

// HeadSize is how many bytes of a segment Head holds at most.
const HeadSize = 64 << 10

// Call is a call of kexec_load.
type Call struct {
	Entry    uint64    `json:"entry"`
	Flags    uint64    `json:"flags"`
	Segments []Segment `json:"segments"`

	Status int `json:"status"` // of the program
	// With -plain.
	MaxResidentKB int64 `json:"max_resident_kb"`
	Microseconds  int64 `json:"microseconds"`
}

// Segment is a struct kexec_segment (include/uapi/linux/kexec.h).
type Segment struct {
	Phys    uint64 `json:"phys"`
	MemSize uint64 `json:"mem_size"`
	Size    uint64 `json:"size"` // of the bytes handed over
	SHA256  []byte `json:"sha256"`
	Head    []byte `json:"head"` // their beginning
}
