// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"fmt"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/zboot"
)

// bpfSection is where v6 of the kernel series looks for a parser program.
const bpfSection = ".bpf"

// Parser describes a PE image with a parser program in its .bpf section.
type Parser struct {
	// Image is any PE image; for a zboot image the header's payload offset
	// follows when the section table needs room.
	Image Content
	// Program is a BPF object: a light skeleton in an ELF file, or an object
	// as clang writes it.
	Program Content
}

// Build lays the image out, without the signatures of Image. The Image must
// be closed.
func (p *Parser) Build(ctx context.Context) (*Image, error) {
	return makeImage(ctx, modeProgram, p.build)
}

func (p *Parser) build(_ context.Context, im *Image) error {
	f, err := im.parsePE("image", p.Image)
	if err != nil {
		return err
	}
	program, err := im.in.required("program", p.Program, MaxFile)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(program, []byte("\x7fELF")) {
		return fmt.Errorf("%w: program %s is no ELF file", ErrPart, p.Program)
	}
	b, err := pe.FromFile(f)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Image, err)
	}
	b.Remove(bpfSection)
	if err := b.Add(pe.NewSection{Name: bpfSection, Data: [][]byte{program}, Characteristics: pe.SectionRead}); err != nil {
		return err
	}
	l, err := b.Layout()
	if err != nil {
		return fmt.Errorf("%s: %w", p.Image, err)
	}
	if zboot.Is(f.Raw) {
		if err := repair(l, f); err != nil {
			return fmt.Errorf("%s: %w", p.Image, err)
		}
	}
	if f.CertTable.Size > 0 {
		im.Notes = append(im.Notes, "the image was signed; its signatures were dropped, sign the new one")
	}
	im.setLayout(l)
	im.check = checkPE
	return nil
}

// repair writes the payload's new offset into the zboot header.
func repair(l *pe.Layout, f *pe.File) error {
	z, err := zboot.Parse(f.Raw)
	if err != nil {
		return err
	}
	for _, s := range f.Sections {
		r := s.Raw()
		at := uint64(z.PayloadOffset)
		if at < r.Offset || at >= r.End() {
			continue
		}
		for _, n := range l.Sections {
			if n.VirtualAddress != s.VirtualAddress || n.SizeOfRawData == 0 {
				continue
			}
			to := uint64(n.PointerToRawData) + at - r.Offset
			if err := zboot.SetPayload(l.Header, uint32(to), z.PayloadSize); err != nil {
				return err
			}
			l.UpdateCheckSum()
			return nil
		}
	}
	return fmt.Errorf("%w: zboot payload at offset 0x%x lies in no section", ErrPart, z.PayloadOffset)
}
