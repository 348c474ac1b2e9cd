// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/hwid"
	"github.com/peelboot/peel/machine"
)

// additions reads what comes from outside the image.
func (f *loadFlags) additions(cmd *cobra.Command, m *machine.Machine, im *peel.Image) (peel.Additions, error) {
	var add peel.Additions
	for _, name := range f.addons {
		p, err := f.open(name)
		if err != nil {
			return add, err
		}
		add.Addons = append(add.Addons, p.File)
	}
	if !f.alone {
		var err error
		if f.nearby, err = im.Nearby(); err != nil {
			return add, fmt.Errorf("beside the image (--no-beside leaves it alone): %w", err)
		}
		add.Nearby = f.nearby
		if words := firmwareWords(m); words != "" {
			add.Firmware = &peel.File{Name: "SMBIOS", Data: []byte(words)}
		}
	}
	for _, name := range f.initrds {
		p, err := f.open(name)
		if err != nil {
			return add, err
		}
		add.Initrds = append(add.Initrds, p.File)
	}
	switch {
	case f.reuse:
		line, ok := m.Kernel.Cmdline.Get()
		if !ok {
			return add, fmt.Errorf("--reuse-cmdline: the running kernel's command line is not known: %s", m.Kernel.Cmdline.Why)
		}
		add.Cmdline = &peel.File{Name: "--reuse-cmdline", Data: []byte(reusable(line))}
	case strings.HasPrefix(f.cmdline, "@"):
		p, err := f.open(f.cmdline[1:])
		if err != nil {
			return add, err
		}
		add.Cmdline = &p.File
	case cmd.Flags().Changed("cmdline"):
		add.Cmdline = &peel.File{Name: "--cmdline", Data: []byte(f.cmdline)}
	}
	if f.dtb != "" {
		p, err := f.open(f.dtb)
		if err != nil {
			return add, err
		}
		add.DTB = &p.File
	}
	if f.appended != "" {
		add.Append = &peel.File{Name: "--append", Data: []byte(f.appended)}
	}
	return add, nil
}

func (f *loadFlags) open(path string) (*peel.Part, error) {
	p, err := peel.OpenPart(path, 0)
	if err == nil {
		f.parts = append(f.parts, p)
	}
	return p, err
}

func (f *loadFlags) close() {
	for _, p := range f.parts {
		p.Close()
	}
	if f.nearby != nil {
		f.nearby.Close()
	}
}

// reusable drops what a boot loader put on the running kernel's command line
// for itself.
func reusable(line string) string {
	var keep []string
	for _, word := range strings.Fields(line) {
		if strings.HasPrefix(word, "BOOT_IMAGE=") || strings.HasPrefix(word, "initrd=") {
			continue
		}
		keep = append(keep, word)
	}
	return strings.Join(keep, " ")
}

// hardware tells by what an image may choose a device tree: hardware ids, and
// what the machine's own tree says it is.
func (f *loadFlags) hardware(m *machine.Machine) (ids [][16]byte, compatible string, err error) {
	if len(f.hwids) > 0 {
		for _, s := range f.hwids {
			id, err := hwid.Parse(s)
			if err != nil {
				return nil, "", usageError{fmt.Errorf("--hwid: %w", err)}
			}
			ids = append(ids, id)
		}
		return ids, "", nil
	}
	if b, ok := m.FDT.Get(); ok {
		if t, err := fdt.Parse(b); err == nil {
			if all, err := t.Root.Texts("compatible"); err == nil && len(all) > 0 {
				compatible = all[0]
			}
		}
	}
	return hwid.ForMatching(m.SMBIOS.Fields.Value, hwid.Panel(m.Displays.Value)), compatible, nil
}

// firmwareWords are the words for the command line that stubs take out of this
// machine's SMBIOS. Whoever runs a confidential virtual machine is not to choose
// words for it.
func firmwareWords(m *machine.Machine) string {
	if m.Confidential.Or(machine.ConfidentialNone) != machine.ConfidentialNone {
		return ""
	}
	return m.SMBIOS.Cmdline.Value
}
