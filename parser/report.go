// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/peelboot/peel/image"
)

// Source says where a program came from.
type Source string

// The sources, in the order of precedence.
const (
	SourceOwn      Source = "image"    // the .bpf section of the layer itself
	SourceOperator Source = "operator" // Options.Programs
	SourceStock    Source = "stock"
)

// A Command is one command that a program sent, as carried out.
type Command struct {
	// Layer counts from 0, the outermost. Origin is its path.
	Layer  int    `json:"layer"`
	Origin string `json:"origin"`
	// Program sent it, in the header of this Generation.
	Program    string     `json:"program"`
	Generation Generation `json:"generation"`
	Op         Op         `json:"-"`
	Sub        Sub        `json:"-"`
	// Name is the command spelled out: "COPY/KERNEL".
	Name string `json:"name"`
	Fill bool   `json:"fill,omitempty"`
	// Ref is set if the payload was a reference.
	Ref *Ref `json:"ref,omitempty"`
	// Size and SHA256 are of the bytes handed over, in hex.
	Size   uint64 `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	// Output and OutputSHA256 are of what decompression yielded.
	Output       uint64 `json:"output,omitempty"`
	OutputSHA256 string `json:"output_sha256,omitempty"`
	// Result is what the program was answered: 0 or a negative errno.
	Result int `json:"result"`
	// Err says why Result is not 0.
	Err string `json:"error,omitempty"`
}

func (c Command) String() string {
	s := fmt.Sprintf("%s: %s: %s", c.Origin, c.Program, c.Name)
	if c.Ref != nil {
		s += fmt.Sprintf(" buffer %d 0x%x+0x%x", c.Ref.Buffer, c.Ref.Offset, c.Ref.Length)
	} else if c.Size > 0 {
		s += fmt.Sprintf(" 0x%x bytes", c.Size)
	}
	if c.SHA256 != "" {
		s += " sha256:" + c.SHA256
	}
	if c.OutputSHA256 != "" {
		s += fmt.Sprintf(" -> 0x%x bytes sha256:%s", c.Output, c.OutputSHA256)
	}
	if c.Err != "" {
		s += fmt.Sprintf(" = %s (%s)", errnoName(c.Result), c.Err)
	}
	return s
}

// commandName spells a command.
func commandName(m message) string {
	switch op := m.op &^ OpRef; {
	case m.op == OpRefuse && m.sub == refuseFormat:
		return m.op.String() + "/FORMAT"
	case m.op == OpRefuse && m.sub == refuseBroken:
		return m.op.String() + "/BROKEN"
	case m.sub != SubNone || op == OpDecompress || op == OpCopy:
		return m.op.String() + "/" + m.sub.String()
	}
	return m.op.String()
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// A LayerReport says what became of one layer.
type LayerReport struct {
	Origin string     `json:"origin"`
	Kind   image.Kind `json:"kind"`
	Size   uint64     `json:"size"`
	// Program took the layer apart; Source is where it came from.
	Program    string     `json:"program"`
	Source     Source     `json:"source"`
	Generation Generation `json:"generation"`
	// Commands is how many commands it sent.
	Commands int `json:"commands"`
}

// A Result is all that Run found out.
type Result struct {
	Payload *image.Payload
	Layers  []LayerReport
	// Extra holds parts that do not boot but belong to the image: .osrel,
	// .uname, .profile, .pcrsig, .pcrpkey, .sbat, .splash; at most one each.
	Extra []image.Part
}

// Part returns the part of Extra with a name.
func (r *Result) Part(name string) (image.Part, bool) {
	for _, p := range r.Extra {
		if p.Name == name {
			return p, true
		}
	}
	return image.Part{}, false
}
