// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"errors"
	"fmt"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/internal/unix"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
)

// LoadOptions say how a kernel is to be loaded.
type LoadOptions struct {
	// Route is the system call; kexec.RouteAuto chooses by the machine.
	Route kexec.Route
	// Plan holds what the operator decides about segments. It matters when
	// kexec_load is used; Crash matters always.
	Plan boot.Options
}

// Loaded tells how a kernel was loaded, or would be.
type Loaded struct {
	Choice kexec.Choice
	// Plan is the plan that kexec_load took; nil after kexec_file_load.
	Plan *boot.Plan
}

// Plan lays kernel, initial RAM disk and hand-over data out in the memory of
// machine m.
func (b *Boot) Plan(m *machine.Machine, o boot.Options) (*boot.Plan, error) {
	h := boot.HostOf(m)
	p, err := boot.Build(b.Payload, h, o)
	if err != nil {
		return nil, err
	}
	handOverLog(p, b.Payload, h, o)
	return p, nil
}

// Choose picks the system call for this kernel on machine m, and makes the
// plan if that is kexec_load. It is Load without the system call. It fails
// with ErrArch, and with the errors of kexec.Choose and boot.Build.
func (b *Boot) Choose(m *machine.Machine, o LoadOptions) (*Loaded, error) {
	if a, host := b.Payload.Arch, m.CPU.Arch.Or(image.HostArch()); a != host {
		return nil, fmt.Errorf("%s: %w: %s, this machine is %s", b.Payload.Kernel.Origin, ErrArch, a, host)
	}
	if err := b.sized(); err != nil {
		return nil, err
	}
	choice, err := kexec.Choose(m, kexec.Wish{Route: o.Route, NeedsSegments: b.needsSegments(o)})
	if err != nil {
		return nil, err
	}
	l := &Loaded{Choice: choice}
	if choice.Route == kexec.RouteSegments {
		if l.Plan, err = b.Plan(m, o.Plan); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// sized refuses an arm64 kernel that does not tell how much memory it needs:
// boot.Build has no place for it, and kexec_file_load refuses it too, as an
// invalid argument (arch/arm64/kernel/kexec_image.c, image_load).
func (b *Boot) sized() error {
	k := b.Payload.Kernel
	if b.Payload.Arch != image.ArchARM64 || image.Detect(k.Data).Kind != image.KindImage {
		return nil
	}
	if h, err := linux.ParseImage(k.Data); err == nil && h.ImageSize == 0 {
		return fmt.Errorf("%s: %w: image_size is 0, as before Linux 3.17: how much memory it needs is not known", k.Origin, boot.ErrKernel)
	}
	return nil
}

// needsSegments says what kexec_file_load has no way to do.
func (b *Boot) needsSegments(o LoadOptions) string {
	switch {
	case b.Payload.DTB != nil || len(o.Plan.DTB) > 0:
		return "a device tree is to be handed over"
	case len(b.Payload.DTBOverlays) > 0:
		return "the device tree is to be changed"
	case image.Detect(b.Payload.Kernel.Data).Kind == image.KindVmlinux:
		return "the kernel is a vmlinux ELF"
	case b.overflows():
		return "the kernel's file is larger than the memory it asks for"
	case o.Plan.NoEFI:
		return "EFI is not to be handed over"
	case o.Plan.Min != 0 || o.Plan.Max != 0:
		return "addresses are bounded"
	}
	return ""
}

// overflows tells of an arm64 kernel that was padded to its size in memory
// before it was signed, as zboot images have it: the running kernel takes what
// is behind its memory, the signature, for an invalid segment
// (kernel/kexec_core.c, sanity_check_segment_list). boot.Build gives it room.
func (b *Boot) overflows() bool {
	data := b.Payload.Kernel.Data
	if b.Payload.Arch != image.ArchARM64 || image.Detect(data).Kind != image.KindImage {
		return false
	}
	h, err := linux.ParseImage(data)
	return err == nil && h.ImageSize > 0 && uint64(len(data)) > h.ImageSize
}

// Load loads the kernel. Where the machine does not tell whether it has
// kexec_file_load and turns out not to, kexec_load is tried. Errors are those
// of Choose, and a *kexec.Error that explains what the running kernel said.
// A failed Load leaves loaded what was loaded before.
func (b *Boot) Load(c *kexec.Client, o LoadOptions) (*Loaded, error) {
	l, err := b.Choose(c.Machine, o)
	if err != nil {
		return nil, err
	}
	if l.Choice.Route == kexec.RouteFile {
		err = b.loadFile(c, o)
		if l.Choice.Fallback != kexec.RouteSegments || !errors.Is(err, unix.ENOSYS) {
			return l, err
		}
		if l.Plan, err = b.Plan(c.Machine, o.Plan); err != nil {
			return nil, err
		}
		l.Choice = kexec.Choice{Route: kexec.RouteSegments, Reason: "the running kernel has no kexec_file_load"}
	}
	return l, loadSegments(c, l.Plan)
}

func loadSegments(c *kexec.Client, p *boot.Plan) error {
	if p.Preview != "" {
		return fmt.Errorf("%w: %s", ErrPreview, p.Preview)
	}
	segments := make([]kexec.Segment, len(p.Segments))
	for i, s := range p.Segments {
		segments[i] = kexec.Segment{Buf: s.Data, Phys: s.Phys, MemSize: s.MemSize}
	}
	return c.LoadSegments(p.Entry, segments, p.Arch, p.Crash)
}

func (b *Boot) loadFile(c *kexec.Client, o LoadOptions) error {
	kernel, err := b.Kernel()
	if err != nil {
		return err
	}
	ramdisk, err := b.RAMDisk()
	if err != nil {
		return err
	}
	return c.LoadFile(kernel, ramdisk, b.Cmdline, kexec.FileFlags{Crash: o.Plan.Crash})
}
