// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
)

// NamedContent is a section of any name.
type NamedContent struct {
	Name string
	Content
}

// UKI describes a unified kernel image, an addon (without Linux), or the
// sections of one profile (without Linux, with Profile).
type UKI struct {
	// Arch is the architecture, or ArchUnknown to take that of the stub.
	Arch image.Arch
	// Stub is the EFI program that the firmware starts, required.
	Stub Content
	// Linux is the kernel: an EFI program, or one compressed as a whole.
	Linux Content
	// Initrds go into one section, each padded to four bytes when there are
	// several. Microcode likewise.
	Initrds, Microcode []Content
	OSRelease          Content
	// Cmdline is taken as it is; see CmdlineText for what ukify does to
	// command lines given as arguments.
	Cmdline Content
	Splash  Content
	DTB     Content
	DTBAuto []Content
	// HWIDs is a .hwids section in binary form; see HWIDs.
	HWIDs Content
	// EFIFW are .efifw sections in binary form; see Firmware.
	EFIFW []Content
	// Uname is the kernel's release. When it is not set it is read out of
	// Linux.
	Uname   Content
	PCRPKey Content
	// PCRSig are signatures of PCR 11 values as JSON; SignPCRs makes them.
	PCRSig Content
	// SBAT are SBAT texts to merge with those of stub and kernel.
	SBAT []Content
	// Sections are further sections.
	Sections []NamedContent
	// Profile is the text of the .profile section: of this profile when
	// Linux is not set, or of the base profile in front of JoinProfiles.
	// When that is not set it is "ID=main".
	Profile Content
	// JoinProfiles are PE images of one profile each, as built by this
	// description without Linux.
	JoinProfiles []Content
	// SignKernel are signatures to put on the kernel before it goes in.
	SignKernel []Signature
	// KeepKernelSignature leaves a kernel that has a signature as it is.
	KeepKernelSignature bool
}

// CmdlineText returns a command line as ukify takes it from its arguments:
// runs of white space become one space.
func CmdlineText(s string) string { return strings.Join(strings.Fields(s), " ") }

// Build lays the image out. The Image must be closed.
func (u *UKI) Build(ctx context.Context) (*Image, error) {
	return makeImage(ctx, modeProgram, u.build)
}

func (u *UKI) build(_ context.Context, im *Image) error {
	b := &ukiBuilder{spec: u, im: im}
	if !u.Stub.IsSet() {
		return fmt.Errorf("%w: stub", ErrMissing)
	}
	if err := b.stubAndKernel(); err != nil {
		return err
	}
	if err := b.base(); err != nil {
		return err
	}
	for _, p := range u.JoinProfiles {
		if err := b.join(p); err != nil {
			return err
		}
	}
	return b.finish()
}

// ukiBuilder is the state of one Build.
type ukiBuilder struct {
	spec     *UKI
	im       *Image
	stub     *stub
	kernel   *kernel
	sections []section
}

func (b *ukiBuilder) stubAndKernel() error {
	u, in := b.spec, &b.im.in
	raw, err := in.bytes(u.Stub, MaxStub)
	if err != nil {
		return err
	}
	// Its .sbat is going to be changed.
	f, err := pe.Parse(bytes.Clone(raw))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrStub, u.Stub, err)
	}
	if f.CertTable.Size > 0 {
		return fmt.Errorf("%w: %s is signed", ErrStub, u.Stub)
	}
	for _, s := range f.Sections {
		if _, ok := uki.RuleFor(s.Name); ok && s.Name != uki.SBAT {
			return fmt.Errorf("%w: %s has a section %s already", ErrStub, u.Stub, s.Name)
		}
	}
	b.stub = &stub{file: f}
	arch := image.ArchOfMachine(f.Machine)
	if u.Arch != image.ArchUnknown && u.Arch != arch {
		return fmt.Errorf("%w: stub %s is for %q, not %s", ErrArch, u.Stub, arch, u.Arch)
	}
	if !u.Linux.IsSet() {
		return nil
	}
	raw, err = in.bytes(u.Linux, MaxFile)
	if err != nil {
		return err
	}
	if b.kernel, err = openKernel(raw, u.Linux.String(), u.SignKernel, u.KeepKernelSignature); err != nil {
		return err
	}
	in.closers = append(in.closers, b.kernel.close)
	b.im.Notes = append(b.im.Notes, b.kernel.notes...)
	if k := b.kernel.info; k.PE.Machine != f.Machine {
		return fmt.Errorf("%w: kernel %s has machine type 0x%04x, stub %s 0x%04x", ErrArch, u.Linux, k.PE.Machine, u.Stub, f.Machine)
	}
	return nil
}

// add appends a section unless content is not set.
func (b *ukiBuilder) add(name string, limit int64, contents ...Content) error {
	s := section{name: name}
	for _, c := range contents {
		if !c.IsSet() {
			continue
		}
		data, err := b.im.in.bytes(c, limit)
		if err != nil {
			return fmt.Errorf("section %s: %w", name, err)
		}
		s.data = append(s.data, data)
		if n := len(data) % 4; n != 0 && len(contents) > 1 {
			s.data = append(s.data, make([]byte, 4-n))
		}
	}
	if s.len() == 0 {
		return nil
	}
	return b.addSection(s)
}

// addSection appends a section that must not be there yet in this profile.
func (b *ukiBuilder) addSection(s section) error {
	rule, _ := uki.RuleFor(s.name)
	start := 0
	for i, o := range b.sections {
		if o.name == uki.ProfileS {
			start = i + 1
		}
	}
	if s.name == uki.ProfileS {
		start = len(b.sections)
	}
	for _, o := range b.sections[start:] {
		if o.name == s.name && !rule.Multiple {
			return fmt.Errorf("%w: %s", ErrDuplicate, s.name)
		}
	}
	b.sections = append(b.sections, s)
	return nil
}

// base adds the sections of the base, or of the one profile.
func (b *ukiBuilder) base() error {
	u := b.spec
	single := u.Profile.IsSet() && len(u.JoinProfiles) == 0
	if single {
		if err := b.add(uki.ProfileS, MaxText, u.Profile); err != nil {
			return err
		}
	}
	if err := b.texts(); err != nil {
		return err
	}
	if b.kernel != nil {
		if err := b.addSection(section{name: uki.Linux, data: b.kernel.data}); err != nil {
			return err
		}
	}
	if err := b.add(uki.Initrd, MaxFile, u.Initrds...); err != nil {
		return err
	}
	for _, f := range u.EFIFW {
		if err := b.add(uki.EFIFW, MaxFile, f); err != nil {
			return err
		}
	}
	if err := b.add(uki.Ucode, MaxFile, u.Microcode...); err != nil {
		return err
	}
	for _, s := range u.Sections {
		if err := b.add(s.Name, MaxFile, s.Content); err != nil {
			return err
		}
	}
	// A profile shares the .sbat of the image it joins.
	if !single || u.Linux.IsSet() {
		if err := b.sbat(); err != nil {
			return err
		}
	}
	// In front of .profile: all profiles share it.
	if err := b.add(uki.PCRSig, maxPCRSig, u.PCRSig); err != nil {
		return err
	}
	if len(u.JoinProfiles) == 0 {
		return nil
	}
	p := u.Profile
	if !p.IsSet() {
		p = Text("ID=main")
	}
	return b.add(uki.ProfileS, MaxText, p)
}

// maxPCRSig bounds .pcrsig: 256 profiles with some device trees have many
// signatures.
const maxPCRSig = 64 << 20

// texts adds the small sections, in the order in which ukify places them.
func (b *ukiBuilder) texts() error {
	u := b.spec
	uname := u.Uname
	if !uname.IsSet() && b.kernel != nil && b.kernel.release != "" {
		uname = Text(b.kernel.release)
		b.im.Notes = append(b.im.Notes, fmt.Sprintf("release of the kernel: %s", b.kernel.release))
	}
	for _, s := range []struct {
		name  string
		limit int64
		list  []Content
	}{
		{uki.OSRel, MaxText, []Content{u.OSRelease}},
		{uki.Cmdline, MaxText, []Content{u.Cmdline}},
		{uki.DTB, MaxFile, []Content{u.DTB}},
		{uki.DTBAuto, MaxFile, u.DTBAuto},
		{uki.HWIDs, MaxFile, []Content{u.HWIDs}},
		{uki.Uname, MaxText, []Content{uname}},
		{uki.Splash, MaxFile, []Content{u.Splash}},
		{uki.PCRPKey, MaxText, []Content{u.PCRPKey}},
	} {
		for _, c := range s.list {
			if err := b.add(s.name, s.limit, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *ukiBuilder) sbat() error {
	var texts [][]byte
	for _, c := range b.spec.SBAT {
		t, err := b.im.in.text(c)
		if err != nil {
			return fmt.Errorf("SBAT: %w", err)
		}
		texts = append(texts, t)
	}
	var stub, kernel *pe.File
	line := sbatAddon
	if b.kernel != nil {
		stub, kernel, line = b.stub.file, b.kernel.info.PE, sbatUKI
	}
	text, err := mergeSBAT(stub, kernel, texts, line)
	if err != nil {
		return err
	}
	add, err := b.stub.setSBAT(text)
	if err != nil {
		return err
	}
	for _, s := range add {
		if err := b.addSection(s); err != nil {
			return err
		}
	}
	return nil
}

// join appends the sections of a profile's image.
func (b *ukiBuilder) join(c Content) error {
	raw, err := b.im.in.bytes(c, MaxFile)
	if err != nil {
		return err
	}
	f, err := pe.Parse(raw)
	if err != nil {
		return fmt.Errorf("%w: profile %s: %w", ErrPart, c, err)
	}
	n := 0
	for _, s := range f.Sections {
		rule, ok := uki.RuleFor(s.Name)
		if !ok || s.Name == uki.SBAT && n == 0 {
			continue
		}
		if n == 0 && s.Name != uki.ProfileS || n > 0 && s.Name == uki.ProfileS {
			return fmt.Errorf("%w: profile %s: %s is section %d, want one .profile and that first", ErrPart, c, s.Name, n+1)
		}
		if !rule.Profile && s.Name != uki.ProfileS {
			return fmt.Errorf("%w: profile %s: section %s belongs to no profile", ErrPart, c, s.Name)
		}
		n++
		if err := b.addSection(section{name: s.Name, data: [][]byte{f.Data(s)}}); err != nil {
			return fmt.Errorf("profile %s: %w", c, err)
		}
	}
	if n == 0 {
		return fmt.Errorf("%w: profile %s has no .profile section", ErrPart, c)
	}
	return nil
}

// finish makes the layout.
func (b *ukiBuilder) finish() error {
	u := b.spec
	if b.kernel == nil && !u.Profile.IsSet() {
		ok := slices.ContainsFunc(b.sections, func(s section) bool {
			r, _ := uki.RuleFor(s.name)
			return r.AddonMain
		})
		if !ok {
			return fmt.Errorf("%w: kernel, or a section an addon is made for", ErrMissing)
		}
	}
	profiles := 0
	for _, s := range b.sections {
		if s.name == uki.ProfileS {
			profiles++
		}
	}
	if profiles > uki.MaxProfiles {
		return fmt.Errorf("%w: %d profiles, at most %d", ErrLimit, profiles, uki.MaxProfiles)
	}
	adjust := func(p *pe.Builder) {
		p.SetSubsystem(pe.SubsystemEFIApplication)
		// A kernel that cannot live with strict memory protection says so
		// in its own header; the image around it must not promise more.
		if b.kernel != nil && b.kernel.info.PE.DllCharacteristics&pe.DllNXCompat == 0 {
			p.SetDllCharacteristics(b.stub.file.DllCharacteristics &^ pe.DllNXCompat)
		}
	}
	l, err := b.stub.layout(b.sections, adjust)
	if err != nil {
		return err
	}
	b.im.setLayout(l)
	if b.kernel != nil || !u.Profile.IsSet() {
		b.im.check = func(raw []byte) error { return checkImage(raw, nil) }
	} else {
		b.im.check = checkPE
	}
	return nil
}
