// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
	"github.com/peelboot/peel/internal/vmtest/boot/segtrace/trace"
	"github.com/peelboot/peel/vm"
)

// facts are what a call of kexec_load would give to a kernel, by name.
type facts map[string]string

// difference is one that is known between kexec-tools and peel; what is a
// regular expression for names of facts. docs/boot-protocols.md has reasons.
type difference struct{ what, why string }

// compareCase loads the same kernel, initial RAM disk and command line by
// kexec -l and by peel load on one machine.
type compareCase struct {
	name   string
	config vm.Config
	known  []difference
}

func (c compareCase) run(t *testing.T) {
	t.Helper()
	arch := c.config.Arch
	image := kernel(t, goarch[arch], "6.12")
	// More than a page, and not a whole number of pages.
	initrd := testkit.Initramfs(t, testkit.Plain("init", bytes.Repeat([]byte("initrd "), 3000)))
	const cmdline = "console=ttyS0 peel.compare=1"
	files := append(program(t, arch, "kexec-tools", "usr/sbin/kexec"), vmkit.Peel(t, arch),
		testkit.Exec(t, "bin/segtrace", testkit.BuildBinary(t, "./internal/vmtest/boot/segtrace", goarch[arch])),
		testkit.Plain("kernel", image), testkit.Plain("initrd", initrd))
	c.config.Kernel = testkit.Kernel(t, goarch[arch], "6.12")
	c.config.MemoryMiB = 1024
	c.config.Cmdline = vmkit.Cmdline(t, arch)
	c.config.Initrd = testkit.WriteFile(t, "initrd", vmkit.Initramfs(t, arch, guest.Script{Name: "compare", Steps: []guest.Step{
		{Name: "theirs", Argv: []string{"/bin/segtrace", "/usr/sbin/kexec", "-c", "-l", "/kernel", "--initrd=/initrd", "--command-line=" + cmdline}},
		{Name: "ours", Argv: []string{"/bin/segtrace", "/bin/peel", "load", "/kernel", "--policy", "warn", "--syscall", "segments",
			"--initrd", "/initrd", "--cmdline", cmdline}},
	}}, files...))
	run := vmkit.Boot(t, c.config, "compare")
	var got [2]facts
	for i, step := range []string{"theirs", "ours"} {
		r := run.Result(step)
		var call trace.Call
		if err := json.Unmarshal([]byte(r.Stdout), &call); err != nil || call.Status != 0 || len(call.Segments) == 0 {
			t.Fatalf("%s: %v, status %d, %d segments: %s", step, err, call.Status, len(call.Segments), r.Stderr)
		}
		got[i] = factsOf(t, arch, &call, image, initrd)
	}
	c.compare(t, got[0], got[1])
}

// compare lists the differences and fails on those that are not known, and on
// known ones that are gone.
func (c compareCase) compare(t *testing.T, theirs, ours facts) {
	t.Helper()
	names := maps.Clone(theirs)
	maps.Copy(names, ours)
	met := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := theirs[name], ours[name]
		if a == b {
			continue
		}
		line := fmt.Sprintf("%s:\n\tkexec-tools %s\n\tpeel        %s", name, a, b)
		known := false
		for _, d := range c.known {
			if regexp.MustCompile("^(" + d.what + ")$").MatchString(name) {
				known, met[d.what] = true, true
				line += "\n\t(" + d.why + ")"
				break
			}
		}
		if known {
			t.Log(line)
		} else {
			t.Error("new difference: " + line)
		}
	}
	for _, d := range c.known {
		if !met[d.what] {
			t.Errorf("difference %q is no more: %s", d.what, d.why)
		}
	}
}

// physical is memory as a call fills it.
type physical []trace.Segment

func (p physical) at(addr, size uint64) []byte {
	for _, s := range p {
		if addr >= s.Phys && addr-s.Phys < s.MemSize {
			b := make([]byte, size)
			if off := addr - s.Phys; off < uint64(len(s.Head)) {
				copy(b, s.Head[off:])
			}
			return b
		}
	}
	return nil
}

func factsOf(t *testing.T, arch image.Arch, call *trace.Call, kernel, initrd []byte) facts {
	t.Helper()
	f := facts{}
	if k, err := linux.ParseBzImage(kernel); arch == image.ArchX86_64 && err == nil {
		kernel = k.Code()
	}
	for _, s := range call.Segments {
		name := "other"
		switch {
		case bytes.HasPrefix(kernel, s.Head[:min(64, len(s.Head))]):
			name = "kernel"
		case bytes.HasPrefix(initrd, s.Head[:min(64, len(s.Head))]):
			name = "initrd"
		case len(s.Head) > boot.BootParamsSize && string(s.Head[0x202:0x206]) == "HdrS":
			name = "boot_params"
			f.bootParams(t, physical(call.Segments), s)
		case bytes.HasPrefix(s.Head, []byte{0xd0, 0x0d, 0xfe, 0xed}):
			name = "dtb"
			f.deviceTree(t, s.Head)
		case call.Entry >= s.Phys && call.Entry-s.Phys < s.Size:
			name = "entry code"
		}
		f["segment "+name] += "x"
		f["segment "+name+" address"] = fmt.Sprintf("%#x", s.Phys)
		f["segment "+name+" bytes"] = fmt.Sprintf("%#x", s.Size)
		f["segment "+name+" size"] = fmt.Sprintf("%#x", s.MemSize)
		if name == "kernel" || name == "initrd" {
			f["segment "+name+" digest"] = fmt.Sprintf("%x", s.SHA256)
		}
		if call.Entry >= s.Phys && call.Entry-s.Phys < s.Size {
			f["entered"] = fmt.Sprintf("%s+%#x", name, call.Entry-s.Phys)
		}
	}
	f["flags"] = fmt.Sprintf("%#x", call.Flags)
	return f
}

// zeroPage names the fields of boot_params by offset, each up to the next one
// (Documentation/arch/x86/zero-page.rst, boot.rst).
var zeroPage = []struct {
	off  int
	name string
}{
	{0x000, "screen_info"}, {0x040, "apm_bios_info"}, {0x054, "pad_054"}, {0x058, "tboot_addr"}, {0x060, "ist_info"},
	{0x070, "acpi_rsdp_addr"}, {0x078, "pad_078"}, {0x080, "hd_info"}, {0x0a0, "sys_desc_table"}, {0x0b0, "olpc_ofw_header"},
	{0x0c0, "ext_ramdisk_image"}, {0x0c4, "ext_ramdisk_size"}, {0x0c8, "ext_cmd_line_ptr"}, {0x0cc, "pad_0cc"},
	{0x13c, "cc_blob_address"}, {0x140, "edid_info"}, {0x1c0, "efi_info"}, {0x1e0, "alt_mem_k"}, {0x1e4, "scratch"},
	{0x1e8, "e820_entries"}, {0x1e9, "eddbuf_entries"}, {0x1ea, "edd_mbr_sig_buf_entries"}, {0x1eb, "kbd_status"},
	{0x1ec, "secure_boot"}, {0x1ed, "pad_1ed"}, {0x1ef, "sentinel"}, {0x1f0, "pad_1f0"}, {0x1f1, "setup_sects"},
	{0x1f2, "root_flags"}, {0x1f4, "syssize"}, {0x1f8, "ram_size"}, {0x1fa, "vid_mode"}, {0x1fc, "root_dev"},
	{0x1fe, "boot_flag"}, {0x200, "jump"}, {0x202, "header"}, {0x206, "version"}, {0x208, "realmode_swtch"},
	{0x20c, "start_sys_seg"}, {0x20e, "kernel_version"}, {0x210, "type_of_loader"}, {0x211, "loadflags"},
	{0x212, "setup_move_size"}, {0x214, "code32_start"}, {0x218, "ramdisk_image"}, {0x21c, "ramdisk_size"},
	{0x220, "bootsect_kludge"}, {0x224, "heap_end_ptr"}, {0x226, "ext_loader_ver"}, {0x227, "ext_loader_type"},
	{0x228, "cmd_line_ptr"}, {0x22c, "initrd_addr_max"}, {0x230, "kernel_alignment"}, {0x234, "relocatable_kernel"},
	{0x235, "min_alignment"}, {0x236, "xloadflags"}, {0x238, "cmdline_size"}, {0x23c, "hardware_subarch"},
	{0x240, "hardware_subarch_data"}, {0x248, "payload_offset"}, {0x24c, "payload_length"}, {0x250, "setup_data"},
	{0x258, "pref_address"}, {0x260, "init_size"}, {0x264, "handover_offset"}, {0x268, "kernel_info_offset"},
	{0x26c, "behind the setup header"}, {0x290, "edd_mbr_sig_buffer"}, {0x2d0, "e820_table"}, {0xcd0, "pad_cd0"},
	{0xd00, "eddbuf"}, {0xeec, "pad_eec"}, {boot.BootParamsSize, ""},
}

func (f facts) bootParams(t *testing.T, mem physical, s trace.Segment) {
	t.Helper()
	page := (*boot.BootParams)(s.Head[:boot.BootParamsSize])
	for i, z := range zeroPage[:len(zeroPage)-1] {
		b := page[z.off:zeroPage[i+1].off]
		switch z.name {
		case "e820_table", "e820_entries": // decoded below
		default:
			f["boot_params "+z.name] = fmt.Sprintf("%x", bytes.TrimRight(b, "\x00"))
		}
	}
	info := boot.DecodeBootParams(page, s.Phys, mem.at)
	f["command line"] = text(mem.at(info.Cmdline, 4096))
	f["initrd size"] = fmt.Sprintf("%#x", info.Ramdisk.Size())
	for _, e := range info.E820 {
		f[fmt.Sprintf("e820 %#x", e.Addr)] = e.String()
	}
	for _, d := range info.SetupData {
		f["setup_data "+d.Name] = fmt.Sprintf("%d bytes", d.Size)
	}
	if info.EFI != nil {
		f["efi system table"] = fmt.Sprintf("%#x", info.EFI.SystemTable)
		for _, d := range info.EFIMap {
			f[fmt.Sprintf("efi map %#x", d.Phys)] = fmt.Sprintf("%+v", d)
		}
	}
	if info.FirmwareEFI != nil {
		f["setup_efi"] = fmt.Sprintf("%+v", *info.FirmwareEFI)
	}
}

func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

func (f facts) deviceTree(t *testing.T, b []byte) {
	t.Helper()
	// Room behind the tree is no part of it.
	tree, err := fdt.Parse(b[:min(uint64(len(b)), uint64(binary.BigEndian.Uint32(b[4:])))])
	if err != nil {
		t.Errorf("device tree: %v", err)
		return
	}
	for _, r := range tree.Reserve {
		f[fmt.Sprintf("dtb reserved %#x", r.Address)] = fmt.Sprintf("%#x", r.Size)
	}
	var walk func(n *fdt.Node, path string)
	walk = func(n *fdt.Node, path string) {
		for _, p := range n.Props {
			value := fmt.Sprintf("%x", p.Value)
			if strings.HasSuffix(p.Name, "-seed") {
				value = fmt.Sprintf("(%d bytes)", len(p.Value))
			}
			if p.Name == "bootargs" {
				value = text(p.Value)
			}
			f["dtb "+path+"/"+p.Name] = "=" + value
		}
		for _, c := range n.Children {
			walk(c, path+"/"+c.Name)
		}
	}
	walk(tree.Root, "")
}

const (
	whyPurgatory = "kexec-tools' code before the kernel checks digests of all segments; the trampoline of peel only jumps"
	whyPlace     = "placed by other rules"
	whyCode      = "kexec-tools loads what follows the code of the kernel, its signature, too"
	whyPage      = "kexec-tools' segment also has the real-mode code, which the 64-bit entry does not run"
	whyHeader    = "kexec-tools writes fields that the 64-bit entry does not use, or that kernels no longer have"
	whyRunning   = "peel hands on what the running kernel was told, kexec-tools fills in what a VGA console has"
	whySeed      = "kexec-tools gives no seed"
	whyBooted    = "tells the kernel that its devices may be in use; kexec_file_load sets it, kexec-tools does not"
	whyPageZero  = "kexec-tools takes the BIOS data area out of the memory map; the kernel reserves it itself"
)

func knownX86(more ...difference) []difference {
	return append([]difference{
		{"segment entry code (bytes|size)|entered", whyPurgatory},
		{"segment (kernel|initrd|boot_params) address|boot_params (ramdisk_image|cmd_line_ptr)", whyPlace},
		{"segment kernel (bytes|digest)", whyCode},
		{"segment boot_params (bytes|size)", whyPage},
		{"boot_params (alt_mem_k|boot_flag|loadflags|root_dev|root_flags)", whyHeader},
		{"boot_params screen_info", whyRunning},
		{"setup_data RNG_SEED", whySeed},
		{"e820 0x(0|400)", whyPageZero},
	}, more...)
}

func knownTree(more ...difference) []difference {
	return append([]difference{
		{"segment entry code (address|bytes|size)|entered", whyPurgatory},
		{"segment dtb address", whyPlace},
		{"segment dtb bytes", "follows from the properties below"},
		{"dtb /chosen/rng-seed", whySeed},
		{"dtb /chosen/linux,booted-from-kexec", whyBooted},
	}, more...)
}

// The same kernel, initrd and command line by kexec-tools and by peel, on the
// same machine: what kexec_load gets differs in nothing but what is known.
func TestVMCompareKexecTools(t *testing.T) {
	for _, c := range []compareCase{
		{"x86 BIOS", vmkit.Config(t, image.ArchX86_64), knownX86(
			difference{"boot_params setup_data", "peel has one, the seed"},
			difference{"boot_params edid_info", whyRunning},
		)},
		{"x86 UEFI", withFirmware(t, image.ArchX86_64), knownX86(
			difference{"segment other.*|boot_params setup_data", "kexec-tools has setup_data and the EFI memory map in a segment of their own"},
			difference{"boot_params efi_info", "the addresses of that; descriptors of 40 bytes in kexec-tools, of 48 in peel, as firmware has them"},
			difference{"boot_params secure_boot", whyRunning},
		)},
		{"arm64 dtb", vmkit.Config(t, image.ArchARM64), knownTree()},
		{"arm64 UEFI", withFirmware(t, image.ArchARM64), knownTree(
			difference{"dtb /chosen/kaslr-seed", "kexec-tools renews a seed but adds none"},
		)},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
}
