// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"fmt"
	"hash/crc32"
)

// tableHeader writes an EFI_TABLE_HEADER (UEFI, section 4.2); the CRC is of
// the whole table.
func tableHeader(b []byte, signature uint64) {
	le.PutUint64(b, signature)
	le.PutUint32(b[8:], 2<<16|100) // revision 2.10
	le.PutUint32(b[12:], uint32(len(b)))
	le.PutUint32(b[16:], 0)
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b))
}

// Signatures of tables (UEFI, sections 4.3 to 4.5).
const (
	systemSignature  = 0x5453595320494249 // "IBI SYST"
	bootSignature    = 0x56524553544f4f42 // "BOOTSERV"
	runtimeSignature = 0x56524553544e5552 // "RUNTSERV"
)

func (f *Firmware) build() error {
	f.services = allServices()
	if len(f.services) > maxSlots {
		return fmt.Errorf("%w: %d services", ErrMemory, len(f.services))
	}
	at, err := f.allocate(BootServicesCode, slotPages*pageSize, pageSize, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	f.slots = at
	f.own = append(f.own, Region{Start: at, Size: slotPages * pageSize})
	natives, err := writeSlots(f.mem[at:at+slotPages*pageSize], f.cfg.Arch, len(f.services))
	if err != nil {
		return err
	}
	if err := f.p.Code(at, slotPages*pageSize, true, false); err != nil {
		return fmt.Errorf("%w: %w", ErrPlatform, err)
	}
	slot := func(name string) uint64 {
		if off, ok := natives[name]; ok {
			return at + off
		}
		for i, s := range f.services {
			if s.name == name {
				return at + uint64(i)*slotSize
			}
		}
		return 0
	}
	objects := func(t MemoryType, b []byte) uint64 {
		var a uint64
		if err == nil {
			a, err = f.newObject(t, b)
		}
		return a
	}
	functions := func(head []byte, names ...string) []byte {
		for _, n := range names {
			if n == "" {
				head = le.AppendUint64(head, 0)
				continue
			}
			head = le.AppendUint64(head, slot(n))
		}
		return head
	}
	bs := functions(make([]byte, 24), bootServices()...)
	tableHeader(bs, bootSignature)
	f.bootTable = objects(BootServicesData, bs)
	rt := functions(make([]byte, 24), runtimeServices()...)
	tableHeader(rt, runtimeSignature)
	runtime := objects(ACPIReclaim, rt)

	mode := make([]byte, 24) // SIMPLE_TEXT_OUTPUT_MODE: one mode, number 0
	le.PutUint32(mode, 1)
	out := functions(nil, textOutput()...)
	out = le.AppendUint64(out, objects(BootServicesData, mode))
	conOut := objects(BootServicesData, out)
	key := f.newEvent().id
	in := functions(nil, "ConIn.Reset", "ConIn.ReadKeyStroke")
	conIn := objects(BootServicesData, le.AppendUint64(in, key))
	vendor := objects(ACPIReclaim, utf16z("peel"))
	console := f.newHandle(proto{guidTextOutput(), conOut}, proto{guidTextInput(), conIn})

	st := make([]byte, 120)
	le.PutUint64(st[24:], vendor)
	le.PutUint32(st[32:], 1)
	le.PutUint64(st[40:], console.id)
	le.PutUint64(st[48:], conIn)
	le.PutUint64(st[56:], console.id)
	le.PutUint64(st[64:], conOut)
	le.PutUint64(st[72:], console.id)
	le.PutUint64(st[80:], conOut)
	le.PutUint64(st[88:], runtime)
	le.PutUint64(st[96:], f.bootTable)
	// What a kernel may want after the stub has ended is kept for it.
	f.tablesAt = objects(ACPIReclaim, make([]byte, maxTables*24))
	le.PutUint64(st[112:], f.tablesAt)
	tableHeader(st, systemSignature)
	f.systemTable = objects(ACPIReclaim, st)

	rng := objects(BootServicesData, functions(nil, "RNG.GetInfo", "RNG.GetRNG"))
	f.newHandle(proto{guidRNG(), rng})
	attr := objects(BootServicesData, functions(nil, "MemoryAttribute.Get", "MemoryAttribute.Set", "MemoryAttribute.Clear"))
	f.newHandle(proto{guidMemoryAttribute(), attr})

	f.textProtocols(objects, functions)
	for _, i := range f.cfg.Initrds {
		f.initrd = (f.initrd + 3) &^ 3
		f.initrd += uint64(len(i))
	}
	if len(f.cfg.Initrds) > 0 {
		path := objects(BootServicesData, append(vendorMedia(guidInitrdMedia()), endPath()...))
		lf := objects(BootServicesData, functions(nil, "LoadFile2.LoadFile"))
		f.newHandle(proto{guidDevicePath(), path}, proto{guidLoadFile2(), lf})
	}
	if f.cfg.Dir != nil {
		path := objects(BootServicesData, append(vendorMedia(guidPeel()), endPath()...))
		sfs := le.AppendUint64(nil, 0x10000)
		sfs = functions(sfs, "SimpleFileSystem.OpenVolume")
		f.fs = &fileSystem{root: f.cfg.Dir, open: map[uint64]*openFile{}, functions: functions(le.AppendUint64(nil, 0x20000), fileFunctions()...)}
		f.fs.handle = f.newHandle(proto{guidDevicePath(), path}, proto{guidSimpleFileSystem(), objects(BootServicesData, sfs)})
	}
	if f.cfg.DTB != nil {
		// Stubs edit a copy; kernels want no part of it below 2 MiB crossed.
		dtb, aerr := f.allocate(ACPIReclaim, uint64(len(f.cfg.DTB)), 2<<20, 0)
		if aerr != nil {
			return fmt.Errorf("%w: device tree: %w", ErrMemory, aerr)
		}
		copy(f.mem[dtb:], f.cfg.DTB)
		f.setTable(guidDTBTable(), dtb)
	}
	f.publishTables()
	if len(f.smbios) > 0 {
		iface := functions(nil, "SMBIOS.Add", "SMBIOS.UpdateString", "SMBIOS.Remove", "SMBIOS.GetNext")
		f.newHandle(proto{guidSMBIOSProtocol(), objects(BootServicesData, append(iface, f.smbiosVersion()...))})
	}
	if err == nil {
		err = f.offerMeasuring(functions)
	}
	// EFI_RT_PROPERTIES_TABLE: no runtime service works later (UEFI 4.6.2).
	props := objects(ACPIReclaim, []byte{1, 0, 8, 0, 0, 0, 0, 0})
	f.setTable(guidRTProperties(), props)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	return nil
}

// textProtocols are those that only compute.
func (f *Firmware) textProtocols(object func(MemoryType, []byte) uint64, functions func([]byte, ...string) []byte) {
	toText := object(BootServicesData, functions(nil, "DevicePathToText.Node", "DevicePathToText.Path"))
	fromText := object(BootServicesData, functions(nil, "DevicePathFromText.Node", "DevicePathFromText.Path"))
	f.newHandle(proto{guidDevicePathToText(), toText}, proto{guidDevicePathFromText(), fromText})
	// The older protocol names languages by ISO 639-2.
	collation := func(language string) uint64 {
		at := object(BootServicesData, []byte(language+"\x00"))
		return object(BootServicesData, le.AppendUint64(functions(nil, unicodeCollation()...), at))
	}
	f.newHandle(proto{guidCollation(), collation("eng")}, proto{guidCollation2(), collation("en")})
	if f.cfg.Fixup != nil {
		const revision = 0x10000
		f.newHandle(proto{guidDTFixup(), object(BootServicesData, functions(le.AppendUint64(nil, revision), "DTFixup.Fixup"))})
	}
}

// publishTables copies the machine's tables. One that makes no sense is left
// out: a machine boots with it, so an image does too.
func (f *Firmware) publishTables() {
	if len(f.cfg.SMBIOS.Entry) > 0 {
		if err := f.addSMBIOS(&f.cfg.SMBIOS); err != nil {
			f.notes = append(f.notes, fmt.Sprintf("the image finds no SMBIOS: %v", err))
		}
	}
	if len(f.cfg.ACPI) > 0 {
		if err := f.addACPI(f.cfg.ACPI); err != nil {
			f.notes = append(f.notes, fmt.Sprintf("the image finds no ACPI tables: %v", err))
		}
	}
}
