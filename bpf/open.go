// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
)

// OpenObject reads an eBPF object of either form: a relocatable ELF file for
// the BPF machine, or an ELF file for any machine that carries a light
// skeleton in opts_insn and opts_data.
//
// The host answers a light skeleton's questions which kernel functions exist;
// nil says yes to all. Errors are those of LoadELF, FindSkeleton and
// LoadSkeleton.
func OpenObject(b []byte, h *Host) (*Object, error) {
	f, err := parseELF(b)
	if err != nil {
		return nil, fmt.Errorf("open BPF object: %w", err)
	}
	if f.machine == elfMachineBPF {
		return LoadELF(b)
	}
	insns, data, err := f.skeleton()
	if err != nil {
		return nil, fmt.Errorf("open BPF object: %w", err)
	}
	return LoadSkeleton(insns, data, h)
}

// FindSkeleton finds the two byte strings of a light skeleton in an ordinary
// ELF64 object: the global symbols opts_insn and opts_data, each a C string
// whose final NUL is dropped. The results are views of b.
//
// ErrNoSkeleton: the object has not both symbols. ErrFormat or ErrTruncated:
// it has, but they lead nowhere.
func FindSkeleton(b []byte) (insns, data []byte, err error) {
	f, err := parseELF(b)
	if err != nil {
		return nil, nil, fmt.Errorf("find light skeleton: %w", err)
	}
	return f.skeleton()
}

func (f *elfFile) skeleton() (insns, data []byte, err error) {
	if insns, err = f.object("opts_insn"); err != nil {
		return nil, nil, err
	}
	if data, err = f.object("opts_data"); err != nil {
		return nil, nil, err
	}
	return insns, data, nil
}

// object returns what a global symbol names, less its last byte.
func (f *elfFile) object(name string) ([]byte, error) {
	for i := range f.symbols {
		y := &f.symbols[i]
		if y.name != name || y.bind != bindGlobal || y.section <= 0 {
			continue
		}
		s := &f.sections[y.section]
		if y.size < 2 {
			return nil, fmt.Errorf("symbol %s of %d bytes: %w", name, y.size, ErrFormat)
		}
		n := uint64(len(s.data))
		if y.value > n || y.size > n-y.value {
			return nil, fmt.Errorf("symbol %s at %#x+%#x in section %s of %#x bytes: %w", name, y.value, y.size, s.name, n, ErrTruncated)
		}
		return s.data[y.value : y.value+y.size-1], nil
	}
	return nil, fmt.Errorf("symbol %s: %w", name, ErrNoSkeleton)
}
