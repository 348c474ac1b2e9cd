// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"

	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/inflate"
)

func (d describer) bzImage(l *Layer, b []byte) {
	k, err := linux.ParseBzImage(b)
	if err != nil {
		return // Detect said so
	}
	l.Kernel = &Kernel{
		Version:          k.Version,
		Release:          linux.Release(k.Version),
		Protocol:         k.ProtocolString(),
		UncompressedSize: uint64(k.UncompressedSize),
		MemorySize:       uint64(k.InitSize),
		CmdlineSize:      uint64(k.CmdlineSize),
	}
	if k.PayloadSize > 0 {
		l.Kernel.Method = inflate.Detect(k.Payload()).String()
	}
	for _, f := range []struct {
		bit  uint16
		name string
	}{
		{linux.XKernel64, "64-bit-entry"},
		{linux.XCanBeAbove4G, "above-4g"},
		{linux.XEFIHandover64, "efi-handover"},
		{linux.XEFIKexec, "efi-kexec"},
		{linux.X5Level, "5-level"},
	} {
		if k.XLoadFlags&f.bit != 0 {
			l.Kernel.Flags = append(l.Kernel.Flags, f.name)
		}
	}
	if k.Relocatable {
		l.Kernel.Flags = append(l.Kernel.Flags, "relocatable")
	}
}

func (d describer) image(l *Layer, b []byte) {
	k, err := linux.ParseImage(b)
	if err != nil {
		return // Detect said so
	}
	banner := linux.Banner(b)
	l.Kernel = &Kernel{
		Version:    banner,
		Release:    linux.Release(banner),
		Protocol:   "image",
		MemorySize: k.ImageSize,
	}
	if k.PageSize != 0 {
		l.Kernel.Flags = append(l.Kernel.Flags, fmt.Sprintf("%dk-pages", k.PageSize>>10))
	}
	if k.BigEndian {
		l.Kernel.Flags = append(l.Kernel.Flags, "big-endian")
	}
	if k.Anywhere {
		l.Kernel.Flags = append(l.Kernel.Flags, "anywhere")
	}
}

func (d describer) vmlinux(l *Layer, b []byte) {
	e, err := linux.ParseELF(b)
	if err != nil {
		return // Detect said so
	}
	banner := linux.Banner(b)
	l.Kernel = &Kernel{Version: banner, Release: linux.Release(banner), Protocol: "elf", Entry: e.Entry}
}
