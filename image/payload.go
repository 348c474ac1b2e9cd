// SPDX-License-Identifier: Apache-2.0

package image

// Part is one piece of a boot image: its bytes and where they came from.
type Part struct {
	// Name is what the part is called in its layer, ".initrd" for a UKI
	// section or the base name for a file of its own.
	Name string
	// Data holds the contents. It is a view of sealed memory; nobody writes
	// to it.
	Data []byte
	// Origin is the path of layers that leads to the part, outermost first,
	// joined by "/": "linux.efi/.linux/payload".
	Origin string
	// Outside is set for what was not inside the verified image: a file or
	// text the operator added. Such a part needs a signature of its own
	// under an enforcing policy.
	Outside bool
}

// Payload is what both routes are after: the pieces that make a kernel boot.
// It is a plain value; all its bytes are views of sealed memory.
type Payload struct {
	// Arch is the architecture of Kernel.
	Arch Arch
	// Kernel is a kernel that a boot protocol starts directly: a bzImage,
	// an Image or a vmlinux ELF.
	Kernel Part
	// Microcode holds cpio archives that must come before every initrd.
	Microcode []Part
	// Initrds are the initial RAM disks in the order in which the kernel is
	// to see them.
	Initrds []Part
	// Cmdline is the kernel command line without a final NUL.
	Cmdline string
	// CmdlineParts tells of which texts Cmdline was made, in order.
	CmdlineParts []Part
	// DTB is the device tree the image brings, or nil.
	DTB *Part
	// DTBOverlays are applied to the device tree in order.
	DTBOverlays []Part
	// Layers lists what was taken apart, outermost first.
	Layers []Layer
}

// Layer is one step on the way from the file to the kernel inside.
type Layer struct {
	// Kind says what the layer's bytes were.
	Kind Kind
	// Name is the layer's own name in the path of layers.
	Name string
	// Data is the whole layer.
	Data []byte
	// Parser names the program that took the layer apart, empty for the
	// innermost layer.
	Parser string
}

// RAMDisk returns the parts that make up the initial RAM disk, in the order
// in which they are concatenated: microcode first.
func (p *Payload) RAMDisk() []Part {
	parts := make([]Part, 0, len(p.Microcode)+len(p.Initrds))
	parts = append(parts, p.Microcode...)
	return append(parts, p.Initrds...)
}
