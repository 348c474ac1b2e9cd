// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/machine"
)

const (
	mib    = 1 << 20
	gib    = 1 << 30
	source = "the virtual machine"
	// What plans leave alone at both ends of RAM: code of startX86 and
	// QEMU's device tree at the lower one; what the BIOS of x86-64 unpacks
	// and keeps at the upper one.
	lowKept  = 4 * mib
	highKept = 32 * mib
)

// Facts tells what a running Linux would tell of the machine that c describes, as far as a plan for Config.Memory
// depends on it, and the end of its RAM. x86-64 and arm64 only, started without firmware of UEFI; on arm64 QEMU is asked
// for the device tree.
func Facts(ctx context.Context, c Config) (m *machine.Machine, top uint64, err error) {
	if c.Firmware != nil {
		return nil, 0, fmt.Errorf("vm: facts: %w: UEFI", ErrConfig)
	}
	m = &machine.Machine{}
	m.CPU.Arch = machine.KnownFact(c.Arch, source)
	m.CPU.PageSize = machine.KnownFact(uint64(4096), source)
	m.Confidential = machine.KnownFact(machine.ConfidentialNone, source)
	m.EFI.Present = machine.KnownFact(false, source)
	mb := cmp.Or(max(c.MemoryMiB, 0), 512)
	switch c.Arch {
	case image.ArchX86_64:
		if least, most := (lowKept+highKept)/mib+2, (maxTop-2*gib)/mib; mb <= least || mb > most {
			err = fmt.Errorf("%w: %d MiB of memory, a start from segments needs more than %d and takes at most %d", ErrConfig, mb, least, most)
			break
		}
		top = factsX86(m, uint64(mb)*mib)
	case image.ArchARM64:
		top, err = factsARM64(ctx, c, m)
	default:
		err = fmt.Errorf("%w: %q cannot start from segments", ErrArch, c.Arch)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("vm: facts: %w", err)
	}
	return m, top, nil
}

// memory puts RAM into the facts, and what of it plans may use.
func memory(m *machine.Machine, ram []machine.Range, other ...machine.MemoryRange) (top uint64) {
	all := append([]machine.MemoryRange(nil), other...)
	var io []machine.Resource
	var usable []machine.Range
	for _, r := range ram {
		all = append(all, machine.MemoryRange{Range: r, Type: machine.RAM})
		io = append(io, machine.Resource{Range: r, Name: string(machine.RAM)})
		if r.Size() > lowKept+highKept && r.Start >= mib {
			usable = append(usable, machine.Range{Start: r.Start + lowKept, Last: r.Last - highKept})
		}
		top = max(top, r.End())
	}
	m.Memory.Map = machine.KnownFact(all, source)
	m.Memory.IOMem = machine.KnownFact(io, source)
	m.Memory.Usable = machine.KnownFact(usable, source)
	return top
}

// factsX86 is the memory map of QEMU's q35 with its BIOS (hw/i386/pc_q35.c): RAM below 4 GiB ends at 2 or 2.75 GiB, the rest
// is above. Where exactly the BIOS has its tables below the end does not matter: all of it counts as reserved.
func factsX86(m *machine.Machine, size uint64) (top uint64) {
	low := size
	if size >= 0xb0000000 {
		low = 2 * gib
	}
	ram := []machine.Range{{Start: 0, Last: 0x9fbff}, {Start: mib, Last: low - mib - 1}}
	if size > low {
		ram = append(ram, machine.Range{Start: 4 * gib, Last: 4*gib + size - low - 1})
	}
	reserved := func(start, last uint64) machine.MemoryRange {
		return machine.MemoryRange{Range: machine.Range{Start: start, Last: last}, Type: machine.Reserved}
	}
	return memory(m, ram, reserved(0x9fc00, 0x9ffff), reserved(0xf0000, 0xfffff), reserved(low-mib, low-1),
		reserved(0xb0000000, 0xbfffffff), reserved(0xfffc0000, 0xffffffff))
}

// factsARM64 takes memory and all else from the device tree.
func factsARM64(ctx context.Context, c Config, m *machine.Machine) (top uint64, err error) {
	b, err := deviceTree(ctx, c)
	if err != nil {
		return 0, err
	}
	tree, err := fdt.Parse(b)
	if err != nil {
		return 0, fmt.Errorf("device tree of QEMU: %w", err)
	}
	regions, err := tree.Memory()
	if err != nil {
		return 0, fmt.Errorf("device tree of QEMU: %w", err)
	}
	var ram []machine.Range
	for _, r := range regions {
		if r.Size > 0 {
			ram = append(ram, machine.Range{Start: r.Address, Last: r.Address + (r.Size - 1)})
		}
	}
	m.FDT = machine.KnownFact(b, source)
	return memory(m, ram), nil
}

// deviceTree asks QEMU for the tree of a machine, less what is for no kernel that it loads itself.
func deviceTree(ctx context.Context, c Config) ([]byte, error) {
	qemu, err := c.program()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "peel-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "dtb")
	c.Kernel, c.Memory, c.Initrd, c.Cmdline, c.DTB, c.Disks, c.Console, c.Input = "", nil, "", "", "", nil, nil, nil
	bare := c
	bare.Memory = &Memory{} // a machine to start from nothing
	args, err := bare.Args("")
	if err != nil {
		return nil, err
	}
	for i, a := range args {
		if a == "-machine" && i+1 < len(args) {
			args[i+1] += ",dumpdtb=" + escape(path)
		}
	}
	out, err := exec.CommandContext(ctx, qemu, args...).CombinedOutput()
	b, readErr := os.ReadFile(path)
	if readErr != nil {
		return nil, fmt.Errorf("device tree of %s: %w (%v): %s", qemu, readErr, err, strings.TrimSpace(string(out)))
	}
	// QEMU leaves room behind the tree.
	tree, err := fdt.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("device tree of QEMU: %w", err)
	}
	return tree.Marshal()
}
