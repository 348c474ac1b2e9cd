// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"fmt"
	"strings"

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
