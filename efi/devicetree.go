// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
)

// guestTree returns the device tree that the guest finds among the
// configuration tables, nil when the machine has none: what describes how the
// running kernel was started is taken out, because a stale initrd would win
// over the right one, and the stub puts in its own.
func guestTree(o *Options, arch image.Arch) ([]byte, error) {
	b := o.DTB
	if b == nil {
		if arch == image.ArchX86_64 {
			return nil, nil
		}
		var ok bool
		if b, ok = o.Machine.FDT.Get(); !ok {
			return nil, nil
		}
	}
	tree, err := fdt.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("device tree: %w", err)
	}
	// systemd-stub goes by hardware ids exactly when firmware has no tree.
	if o.DTB == nil && !describes(tree) {
		return nil, nil
	}
	n := tree.Chosen()
	var drop []string
	for _, p := range n.Props {
		switch {
		case strings.HasPrefix(p.Name, "linux,"), p.Name == "bootargs", p.Name == "bootargs-append", p.Name == "kaslr-seed", p.Name == "rng-seed":
			drop = append(drop, p.Name)
		}
	}
	for _, name := range drop {
		n.Delete(name)
	}
	out, err := tree.Marshal()
	if err != nil {
		return nil, fmt.Errorf("device tree: %w", err)
	}
	return out, nil
}

// describes tells the tree of a machine from one that the stub of the running
// kernel has made on a machine with ACPI, for its /chosen alone.
func describes(tree *fdt.Tree) bool {
	_, ok := tree.Root.Get("compatible")
	return ok
}

// treeFixup puts into a device tree that an image brings along what describes
// this very machine: where memory is, what of it is reserved, its serial
// number. On machines with UEFI the memory map tells the first two. nil is for
// machines without a device tree.
func treeFixup(o *Options, arch image.Arch) firmware.Fixup {
	host, ok := o.Machine.FDT.Get()
	if !ok || arch == image.ArchX86_64 {
		return nil
	}
	own, err := fdt.Parse(host)
	if err != nil || !describes(own) {
		return nil
	}
	return func(b []byte, apply, reserve bool) ([]byte, error) {
		tree, err := fdt.Parse(b)
		if err != nil {
			return nil, fmt.Errorf("device tree: %w", err)
		}
		if apply {
			mem, err := own.Memory()
			if err != nil {
				return nil, fmt.Errorf("device tree of the machine: %w", err)
			}
			if len(mem) > 0 {
				if err := tree.SetMemory(mem); err != nil {
					return nil, fmt.Errorf("device tree: %w", err)
				}
			}
			if serial, ok := own.Root.Get("serial-number"); ok {
				tree.Root.Set("serial-number", serial)
			}
		}
		if reserve {
			for _, r := range own.Reserve {
				if !slices.Contains(tree.Reserve, r) {
					tree.Reserve = append(tree.Reserve, r)
				}
			}
		}
		return tree.Marshal()
	}
}
