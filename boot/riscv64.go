// SPDX-License-Identifier: Apache-2.0

package boot

import "fmt"

// riscv64 plans an Image or a vmlinux (Documentation/arch/riscv/boot.rst and
// boot-image-header.rst). The running kernel passes hart id and device tree
// by itself, so the entry is that of the kernel.
func (b *builder) riscv64() error {
	f, err := b.flatKernel()
	if err != nil {
		return err
	}
	k := f.header
	switch {
	case k.Arch != string(b.plan.Arch):
		return fmt.Errorf("kernel is an Image for %s: %w", k.Arch, ErrKernel)
	case k.ImageSize == 0:
		return fmt.Errorf("image_size is 0: %w", ErrKernel)
	case k.BigEndian:
		return fmt.Errorf("big-endian kernel: %w", ErrKernel)
	case len(b.Cmdline) > riscv64CmdlineSize:
		return fmt.Errorf("command line of %d bytes, riscv64 kernels take %d: %w", len(b.Cmdline), riscv64CmdlineSize, ErrLimit)
	}
	// The header's text_offset is a distance from the start of RAM, which
	// leaves room for the firmware. What is usable leaves it out already;
	// needed is the alignment of 2 MiB. The lowest place, because older
	// kernels cannot use the memory below themselves.
	//
	// The kernel reserves whole units of 2 MiB for itself, to map them
	// read-only, and takes no initrd that lies in them (arch/riscv/mm/init.c,
	// setup_bootmem).
	size, ok := roundUp(f.size, twoMiB)
	if !ok {
		return fmt.Errorf("kernel of %#x bytes: %w", f.size, ErrLimit)
	}
	last := &f.pieces[len(f.pieces)-1]
	f.size, last.memSize = size, size-last.off
	base, err := b.placeFlat(f, 0, Want{Align: twoMiB})
	if err != nil {
		return err
	}
	if _, err := b.withDeviceTree(Want{Min: base + f.size}, Want{Min: base + f.size}, 1); err != nil {
		return err
	}
	b.plan.Entry = base
	b.plan.HandOver.KernelEntry = base
	return nil
}
