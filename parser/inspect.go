// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"fmt"

	"github.com/peelboot/peel/bpf"
	"github.com/peelboot/peel/image/pe"
)

// An Inspection says what a file of programs holds.
type Inspection struct {
	// Form is "container", "object", or "image" for the .bpf section of a PE
	// image.
	Form string `json:"form"`
	// Signed is set if a module-style trailer is there; SignatureSize is the
	// size of its PKCS#7 in bytes. Nothing is verified.
	Signed        bool `json:"signed"`
	SignatureSize int  `json:"signature_size,omitempty"`
	// Programs in the order in which they are tried.
	Programs []ProgramInfo `json:"programs"`
	// Nested is the level for the next layer.
	Nested *Inspection `json:"nested,omitempty"`
}

// ProgramInfo describes one BPF object.
type ProgramInfo struct {
	// Section that holds it: ".bpf.1"; empty for a file of its own.
	Section string `json:"section,omitempty"`
	Size    int    `json:"size"`
	SHA256  string `json:"sha256"`
	// Err says why the object cannot be used; the fields below are then
	// empty.
	Err string `json:"error,omitempty"`

	Name       string     `json:"name,omitempty"`
	Format     bpf.Format `json:"format,omitempty"`
	Generation Generation `json:"generation,omitempty"`
	License    string     `json:"license,omitempty"`
	// AttachTo is the kernel function that the program hangs on.
	AttachTo string `json:"attach_to,omitempty"`
	// Instructions counts 8-byte slots.
	Instructions int       `json:"instructions,omitempty"`
	Kfuncs       []string  `json:"kfuncs,omitempty"`
	Maps         []MapInfo `json:"maps,omitempty"`
}

// MapInfo describes a map of an object.
type MapInfo struct {
	Name string `json:"name"`
	// Type is "ringbuf", "array" or "map type N".
	Type string `json:"type"`
	// Size of a ring buffer, or of one value, in bytes.
	Size     uint32 `json:"size"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Inspect describes a container of programs, a single BPF object, or the
// programs in the .bpf section of a PE image. Nothing of them runs but the
// loader of light skeletons, which happens in the machine.
//
// Errors: ErrContainer, ErrTrailer, ErrLimit. An object that cannot be used is
// no error but ProgramInfo.Err.
func Inspect(data []byte) (*Inspection, error) {
	from, form := carrierContainer, "object"
	if bytes.HasPrefix(data, []byte("MZ")) {
		f, err := pe.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrContainer, err)
		}
		s, ok := f.Find(".bpf")
		if !ok {
			return nil, fmt.Errorf("%w: PE image without a .bpf section", ErrContainer)
		}
		from, form, data = carrierPE, "image", f.Data(s)
	} else if IsContainer(data) {
		form = "container"
	}
	c, err := programs(data)
	if err != nil {
		return nil, err
	}
	in := inspectLevel(c, from)
	in.Form = form
	if form == "object" {
		in.Programs[0].Section = ""
	}
	return in, nil
}

func inspectLevel(c *Container, from carrier) *Inspection {
	in := &Inspection{Form: "container", Signed: c.Signature != nil, SignatureSize: len(c.Signature)}
	for i, p := range c.Programs {
		info := inspectObject(p, from)
		info.Section = fmt.Sprintf("%s%d", programPrefix, i+1)
		in.Programs = append(in.Programs, info)
	}
	if c.Nested != nil {
		in.Nested = inspectLevel(c.Nested, from)
	}
	return in
}

func inspectObject(data []byte, from carrier) ProgramInfo {
	info := ProgramInfo{Size: len(data), SHA256: digest(data)}
	o, err := open(data, from)
	if err != nil {
		info.Err = err.Error()
		return info
	}
	info.Name, info.Format, info.Generation, info.License = o.program, o.obj.Format, o.gen, o.obj.License
	for _, p := range o.obj.Programs {
		info.AttachTo = p.AttachTo
		info.Instructions = len(p.Instructions()) / 8
		for _, k := range p.Kfuncs {
			info.Kfuncs = append(info.Kfuncs, k.Name)
		}
	}
	for _, m := range o.obj.Maps {
		mi := MapInfo{Name: m.Name, Size: m.ValueSize, ReadOnly: m.ReadOnly()}
		switch m.Type {
		case bpf.MapRingbuf:
			mi.Type, mi.Size = "ringbuf", m.MaxEntries
		case bpf.MapArray:
			mi.Type = "array"
		default:
			mi.Type = fmt.Sprintf("map type %d", m.Type)
		}
		info.Maps = append(info.Maps, mi)
	}
	return info
}
