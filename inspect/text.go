// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/peelboot/peel/image"
)

// WriteText prints the report as a tree for people. Text out of the image is
// printed with control characters made visible.
func (r *Report) WriteText(w io.Writer) error {
	p := printer{w: bufio.NewWriter(w)}
	p.layer(r.Layer, printable(r.Layer.Name), "", "")
	return p.w.Flush()
}

// printer draws the tree. lead stands before each line of a layer.
type printer struct{ w *bufio.Writer }

func (p *printer) line(lead, format string, args ...any) {
	fmt.Fprintf(p.w, "%s%s\n", lead, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// fact prints a name and its value, unless the value is empty.
func (p *printer) fact(lead, name, value string) {
	if value != "" {
		p.line(lead, "%-13s %s", name, value)
	}
}

// layer prints l: name and title behind first, everything else behind rest.
// The name is left out where the section that holds the layer said it.
func (p *printer) layer(l *Layer, name, first, rest string) {
	if name != "" {
		name += "  "
	}
	p.line(first, "%s%s", name, title(l))
	children := len(l.Sections) > 0 || len(l.Layers) > 0
	lead := rest + "   "
	if children {
		lead = rest + "│  "
	}
	p.facts(l, lead)
	if children {
		p.line(lead, "")
	}
	p.children(l, rest)
}

// facts prints what is known of l itself.
func (p *printer) facts(l *Layer, lead string) {
	p.fact(lead, "sha256", l.SHA256)
	if l.PE != nil {
		p.fact(lead, "authenticode", l.PE.Authenticode["sha256"])
	}
	if l.Stub != nil {
		p.fact(lead, "stub", strings.TrimSpace(printable(l.Stub.Name)+" "+printable(l.Stub.Version)))
	}
	if t := l.Thin; t != nil {
		p.fact(lead, "kernel", printable(t.Kernel.Path)+", sha256 "+t.Kernel.SHA256)
		if t.Initrd != nil {
			p.fact(lead, "initrd", printable(t.Initrd.Path)+", sha256 "+t.Initrd.SHA256)
		}
	}
	if k := l.Kernel; k != nil {
		p.fact(lead, "version", printable(shorten(k.Version, 96)))
		boot := map[string]string{"image": "its Image header", "elf": "its ELF header"}[k.Protocol]
		if boot == "" {
			boot = "boot protocol " + k.Protocol
		}
		if k.Method != "" {
			boot += ", payload " + k.Method
		}
		if k.UncompressedSize > 0 {
			boot += fmt.Sprintf(", %s uncompressed", bytesize(k.UncompressedSize))
		}
		if k.MemorySize > 0 {
			boot += fmt.Sprintf(", needs %s", bytesize(k.MemorySize))
		}
		p.fact(lead, "boots by", boot)
		p.fact(lead, "flags", strings.Join(k.Flags, " "))
	}
	if z := l.Zboot; z != nil {
		p.fact(lead, "payload", fmt.Sprintf("%s at 0x%x, %s", bytesize(z.PayloadSize), z.PayloadOffset, printable(z.Method)))
	}
	for _, s := range l.Signatures {
		p.signature(lead, s)
	}
	if l.PE != nil && len(l.Signatures) == 0 {
		p.fact(lead, "signed by", "nobody")
	}
	for _, f := range l.Profiles {
		if f.Number < 0 {
			continue
		}
		p.fact(lead, fmt.Sprintf("profile @%d", f.Number), strings.TrimSpace(printable(f.ID)+"  "+printable(f.Title)))
	}
	p.fact(lead, "problem", printable(l.Problem))
}

func (p *printer) signature(lead string, s Signature) {
	text := s.Signer
	if text == "" {
		text = "?"
	}
	p.fact(lead, "signed by", printable(text))
	if s.Issuer != "" && s.Issuer != s.Signer {
		p.fact(lead, "", "issued by "+printable(s.Issuer))
	}
	detail := []string{s.Kind}
	for _, d := range []string{s.Digest, s.Algorithm} {
		if d != "" {
			detail = append(detail, d)
		}
	}
	if s.NotAfter != nil {
		detail = append(detail, "certificate until "+s.NotAfter.Format("2006-01-02"))
	}
	p.fact(lead, "", strings.Join(detail, ", "))
	if s.Problem != "" {
		p.fact(lead, "", "problem: "+printable(s.Problem))
	}
}

// children prints the sections of l and the layers in it; a layer hangs on
// the section that holds it.
func (p *printer) children(l *Layer, rest string) {
	type child struct {
		section *Section
		layer   *Layer
	}
	held := map[uint64]*Layer{}
	var list []child
	for _, in := range l.Layers {
		if in.Offset != nil && len(l.Sections) > 0 {
			held[*in.Offset] = in
		}
	}
	width := 8
	for i := range l.Sections {
		s := &l.Sections[i]
		width = max(width, len(printable(s.Name)))
		in := held[s.Offset]
		delete(held, s.Offset)
		list = append(list, child{s, in})
	}
	for _, in := range l.Layers {
		if in.Offset == nil || len(l.Sections) == 0 || held[*in.Offset] != nil {
			list = append(list, child{nil, in})
		}
	}
	for i, c := range list {
		branch, below := "├─ ", "│  "
		if i == len(list)-1 {
			branch, below = "└─ ", "   "
		}
		if c.section == nil {
			p.layer(c.layer, printable(c.layer.Name), rest+branch, rest+below)
			continue
		}
		p.line(rest+branch, "%-*s %10s  %s", width, printable(c.section.Name), bytesize(c.section.Size), remark(c.section))
		if c.layer != nil {
			p.layer(c.layer, "", rest+below+"└─ ", rest+below+"   ")
		}
	}
}

// remark says in a few words what a section holds.
func remark(s *Section) string {
	var words []string
	if s.PCR >= 0 {
		words = append(words, fmt.Sprintf("PCR %d", s.PCR))
	}
	text := s.Text
	if s.Name == ".osrel" {
		text = osName(text)
	}
	if s.Name == ".pcrsig" || s.Name == ".pcrpkey" {
		text = ""
	}
	switch {
	case s.Compatible == "overlay":
		words = append(words, "overlay")
	case s.Compatible != "":
		words = append(words, "for "+printable(s.Compatible))
	case len(s.HWIDs) > 0:
		words = append(words, fmt.Sprintf("%d hardware ids", len(s.HWIDs)))
	}
	if text != "" {
		words = append(words, printable(shorten(strings.TrimSpace(text), 72)))
	}
	return strings.Join(words, "  ")
}

// osName picks PRETTY_NAME out of an os-release text.
func osName(text string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return text
}

// title says in one line what l is.
func title(l *Layer) string {
	words := []string{kindName(l)}
	if l.Method != "" && l.Kind != image.KindCompress {
		words = append(words, "out of "+l.Method)
	}
	return strings.Join(append(words, bytesize(l.Size)), ", ")
}

func kindName(l *Layer) string {
	name := map[image.Kind]string{
		image.KindUnknown:   "unknown data",
		image.KindPE:        "PE image",
		image.KindUKI:       "unified kernel image",
		image.KindAddon:     "UKI addon",
		image.KindThin:      "thin image",
		image.KindZboot:     "EFI zboot image",
		image.KindBzImage:   "bzImage",
		image.KindImage:     "kernel Image",
		image.KindVmlinux:   "vmlinux ELF",
		image.KindContainer: "container of parser programs",
		image.KindEnvelope:  "ELF envelope",
		image.KindCompress:  l.Method + " stream",
	}[l.Kind]
	if l.Arch != image.ArchUnknown {
		name += " for " + string(l.Arch)
	}
	return name
}

// bytesize prints a byte count: exact below 10 KiB, else with one decimal.
func bytesize(n uint64) string {
	if n < 10<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n) / 1024
	for _, unit := range []string{"KiB", "MiB"} {
		if f < 1024 {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.1f GiB", f)
}

// printable makes control characters visible, so that an image cannot drive
// the terminal, and newlines spaces.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x202e || r == 0xfffd:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// shorten cuts s to at most n runes and marks the cut.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
