// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"errors"
	"fmt"

	"github.com/peelboot/peel/bpf"
)

// carrier is how a program came: a generation is told by it where the
// program's own types say nothing.
type carrier int

const (
	carrierPE        carrier = iota // the .bpf section of a PE image: v6
	carrierContainer                // a .bpf.N section of an ELF container: v7
)

// generationOf tells the ABI generation of a program by its own types: the
// size of struct cmd_hdr and the fields of struct kexec_context. Types that it
// has but this host does not know are refused by name. Where it has none, the
// kind of container tells.
func generationOf(o *bpf.Object, from carrier) (Generation, error) {
	byHeader := GenUnknown
	for h := range o.BTF.All(bpf.KindStruct, "cmd_hdr") {
		var g Generation
		switch h.Size {
		case headerV6:
			g = GenV6
		case headerV7:
			g = GenV7
		default:
			return GenUnknown, fmt.Errorf("%w: cmd_hdr of %d bytes", ErrGeneration, h.Size)
		}
		if byHeader != GenUnknown && g != byHeader {
			return GenUnknown, fmt.Errorf("%w: cmd_hdr of %d and of %d bytes in one program", ErrGeneration, headerV6, headerV7)
		}
		byHeader = g
	}
	byContext, err := contextGeneration(o.BTF)
	if err != nil {
		return GenUnknown, err
	}
	switch {
	case byHeader == GenUnknown && byContext == GenUnknown:
		if from == carrierPE {
			return GenV6, nil
		}
		return GenV7, nil
	case byHeader == GenUnknown:
		return byContext, nil
	case byContext == GenUnknown:
		return byHeader, nil
	case byHeader.HeaderSize() != byContext.HeaderSize():
		return GenUnknown, fmt.Errorf("%w: cmd_hdr of %d bytes with a kexec_context of %s", ErrGeneration, byHeader.HeaderSize(), byContext)
	}
	return byContext, nil
}

// contextFlavours are the structures that say which context a program wants:
// the plain one and the flavours that docs/parser-abi.md names. Others are left
// to CO-RE, which finds their fields or does not.
func contextFlavours() []string {
	return []string{"kexec_context", "kexec_context___later", "kexec_context___peel"}
}

// contextGeneration tells the generation by the fields of kexec_context.
func contextGeneration(types *bpf.BTF) (Generation, error) {
	known := contextFields()
	found := map[string]bool{}
	for _, name := range contextFlavours() {
		for s := range types.All(bpf.KindStruct, name) {
			for _, m := range s.Members {
				if !known[m.Name] {
					return GenUnknown, fmt.Errorf("%w: field %s.%s", ErrGeneration, name, printable([]byte(m.Name)))
				}
				found[m.Name] = true
			}
		}
	}
	switch {
	case len(found) == 0:
		return GenUnknown, nil
	case found["peel_abi"]:
		return GenPeel, nil
	case found["next_parsing_buf"] || found["next_parsing_buf_sz"] || found["sig_mode"]:
		return GenLater, nil
	case found["parsing_buf"] || found["parsing_buf_sz"] || found["parsed"]:
		return GenV7, nil
	case found["kernel"] || found["kernel_sz"]:
		return GenV6, nil
	}
	return GenUnknown, nil
}

// errIs reports whether err is one of targets; a shorthand for switches.
func errIs(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
