// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
)

// Sets of units. Long is installed on top of Core.
const (
	Core = "core" // what `make test` needs
	Long = "long" // what `make test-long` needs beyond
)

// layoutVersion changes when units made by an older program must be made again.
const layoutVersion = 1

// Unit is one directory of the cache, unpacked from packages of one suite and architecture.
type Unit struct {
	Name string // directory below unit/
	Set  string // Core or Long
	// Suite is a Debian code name, or one with a pocket, such as trixie-backports.
	Suite string
	// Arch is a Debian architecture; empty is that of this machine.
	Arch string
	// Packages are names of packages. A metapackage is followed to those of its dependencies that match Follow.
	Packages []string
	// Closure also unpacks everything the packages depend on: for programs that are to run.
	Closure bool
	// Follow tells which dependencies are walked; Keep which of the packages found are unpacked.
	Follow, Keep string
	// Suffix is appended to the names that were found, for the -unsigned forms of kernels.
	Suffix string
	// Only are tar patterns of the files that are wanted; empty is all.
	Only []string
	// Build are the lines of a kernel's configuration: such a unit is compiled from the unit linux-source, not unpacked.
	Build string `json:",omitempty"`
}

func (u Unit) fingerprint() string {
	b, err := json.Marshal(u)
	if err != nil {
		// A struct of strings always marshals.
		b = []byte(err.Error())
	}
	sum := sha256.Sum256(append(b, layoutVersion))
	return hex.EncodeToString(sum[:]) + "\n"
}

// wanted reports which of the names that a unit's walk found are to be unpacked.
func (u Unit) wanted(names []string) ([]string, error) {
	if u.Keep == "" {
		return names, nil
	}
	re, err := regexp.Compile(u.Keep)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		if re.MatchString(n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// Names of units that the lookups use.
const (
	unitTools     = "tools"
	unitToolsLong = "tools-long"
	unitTokens    = "tokens"
	unitCompile   = "tools-compile"
	unitSource    = "linux-source"
	unitTiny      = "kernel-arm64-tiny"
)

// toolPackages are the packages whose programs get a wrapper; wrappers.go lists the programs.
func toolPackages() []string {
	return strings.Fields(`
		qemu-system-x86 qemu-system-arm qemu-system-riscv ovmf qemu-efi-aarch64
		systemd-ukify systemd-boot-tools systemd-repart
		sbsigntool pesign osslsigncode ima-evm-utils efitools python3-virt-firmware openssl libnss3-tools
		swtpm swtpm-tools libtss2-esys-3.0.2-0t64 libtss2-rc0t64 libtss2-mu-4.0.1-0t64
		kexec-tools makedumpfile clang llvm bpftool
		binutils binutils-aarch64-linux-gnu binutils-riscv64-linux-gnu
		device-tree-compiler mtools dosfstools
		lzop lz4 zstd xz-utils bzip2 gzip cpio file shellcheck
		python3-zstandard python3-lz4`)
}

// A kernel image package carries hundreds of modules; a test needs a handful.
func kernelFiles() []string {
	return []string{
		"./boot/*", "*/vmlinuz*", "*/config*", "*/modules.*", "*/kernel/fs/efivarfs/*", "*/kernel/fs/fat/*",
		"*/kernel/fs/nls/*", "*/kernel/drivers/firmware/*", "*/kernel/drivers/virtio/*", "*/kernel/drivers/char/*",
		"*/kernel/drivers/block/virtio_blk*",
	}
}

const (
	followKernel = `^linux-(image|binary)-`
	keepKernel   = `^linux-(image-[0-9].*[0-9]-(cloud-)?(amd64|arm64|riscv64)|image-[0-9].*|binary-[0-9].*)$`
)

func kernel(set, name, suite, arch, meta string) Unit {
	return Unit{Name: name, Set: set, Suite: suite, Arch: arch, Packages: []string{meta},
		Follow: followKernel, Keep: keepKernel, Only: kernelFiles()}
}

func unsigned(u Unit) Unit {
	u.Name += "-unsigned"
	u.Suffix = "-unsigned"
	return u
}

func efi(set, suite, arch string) Unit {
	return Unit{Name: "systemd-efi-" + suite + "-" + arch, Set: set, Suite: suite, Arch: arch,
		Packages: []string{"systemd-boot-efi"}, Only: []string{"./usr/lib/systemd/boot/efi/*"}}
}

// Units returns everything the cache can hold, in the order of installation.
func Units() []Unit {
	amd64 := kernel(Core, "kernel-amd64-6.12", "trixie", "amd64", "linux-image-cloud-amd64")
	shim := []string{"./usr/lib/shim/*", "./usr/share/shim/*"}
	return []Unit{
		{Name: unitTools, Set: Core, Suite: "trixie", Packages: toolPackages(), Closure: true},
		// Keys in hardware: a TPM's tools and its OpenSSL provider, a PKCS #11 token in software.
		{Name: unitTokens, Set: Core, Suite: "trixie", Closure: true,
			Packages: []string{"tpm2-tools", "tpm2-openssl", "libtss2-tcti-swtpm0t64", "openssl", "softhsm2", "opensc"}},
		amd64,
		efi(Core, "trixie", "amd64"),
		efi(Core, "trixie", "arm64"),
		unsigned(amd64),
		kernel(Core, "kernel-arm64-6.12", "trixie", "arm64", "linux-image-cloud-arm64"),
		kernel(Core, "kernel-arm64-6.1", "bookworm", "arm64", "linux-image-cloud-arm64"),
		kernel(Core, "kernel-amd64-6.1", "bookworm", "amd64", "linux-image-cloud-amd64"),
		{Name: "shim-signed", Set: Core, Suite: "trixie", Arch: "amd64", Packages: []string{"shim-signed"}, Only: shim},
		{Name: "shim-unsigned", Set: Core, Suite: "trixie", Arch: "amd64", Packages: []string{"shim-unsigned"}, Only: shim},
		{Name: "kbuild", Set: Core, Suite: "trixie", Packages: []string{"linux-headers-" + hostArch()},
			Follow: `^linux-(headers|kbuild)-`, Keep: `^linux-kbuild-`},
		efi(Core, "bookworm", "amd64"),
		efi(Core, "bookworm", "arm64"),
		efi(Core, "forky", "amd64"),
		efi(Core, "forky", "arm64"),
		// A script, which runs with the Python of the tools.
		{Name: "ukify-new", Set: Core, Suite: "forky", Packages: []string{"systemd-ukify"}, Only: []string{"./usr/bin/*", "./usr/lib/systemd/*"}},
		{Name: "stubble", Set: Core, Suite: "forky", Arch: "amd64", Packages: []string{"stubble"},
			Only: []string{"./usr/lib/stubble/*", "./usr/share/stubble/*"}},
		kernel(Core, "kernel-amd64-new", "forky", "amd64", "linux-image-cloud-amd64"),
		kernel(Core, "kernel-loong64-new", "forky", "loong64", "linux-image-loong64"),
		kernel(Core, "kernel-riscv64-6.12", "trixie", "riscv64", "linux-image-riscv64"),
		{Name: "kexec-tools-amd64", Set: Core, Suite: "trixie", Arch: "amd64", Packages: []string{"kexec-tools"}, Closure: true},
		{Name: "kexec-tools-arm64", Set: Core, Suite: "trixie", Arch: "arm64", Packages: []string{"kexec-tools"}, Closure: true},
		// The makedumpfile of Debian 13 says that it does not know Linux 6.12.
		{Name: "makedumpfile-amd64", Set: Core, Suite: "forky", Arch: "amd64", Packages: []string{"makedumpfile"}, Closure: true},
		{Name: "makedumpfile-arm64", Set: Core, Suite: "forky", Arch: "arm64", Packages: []string{"makedumpfile"}, Closure: true},

		{Name: unitToolsLong, Set: Long, Suite: "trixie", Packages: []string{"qemu-system-misc"}, Closure: true},
		kernel(Long, "kernel-amd64-5.10", "bullseye", "amd64", "linux-image-cloud-amd64"),
		kernel(Long, "kernel-arm64-new", "forky", "arm64", "linux-image-cloud-arm64"),
		kernel(Long, "kernel-riscv64-new", "forky", "riscv64", "linux-image-riscv64"),
		kernel(Long, "kernel-arm64-generic-6.12", "trixie", "arm64", "linux-image-arm64"),
		// The kexec-tools of Debian 13 know no riscv64.
		{Name: "kexec-tools-riscv64", Set: Long, Suite: "forky", Arch: "riscv64", Packages: []string{"kexec-tools"}, Closure: true},
		{Name: "qemu-efi-loongarch64", Set: Long, Suite: "forky", Arch: "amd64", Packages: []string{"qemu-efi-loongarch64"}},
		{Name: "qemu-efi-riscv64", Set: Long, Suite: "trixie", Arch: "amd64", Packages: []string{"qemu-efi-riscv64"}},
		efi(Long, "forky", "riscv64"),
		efi(Long, "forky", "loong64"),
		{Name: unitSource, Set: Long, Suite: "trixie", Arch: "amd64", Packages: []string{"linux-source"},
			Follow: `^linux-source-`, Keep: `^linux-source-`},
		{Name: unitCompile, Set: Long, Suite: "trixie", Packages: strings.Fields("lld make flex bison bc libssl-dev"), Closure: true},
		{Name: unitTiny, Set: Long, Suite: "trixie", Arch: "arm64", Build: tinyConfig},
	}
}

func unitByName(name string) (Unit, bool) {
	for _, u := range Units() {
		if u.Name == name {
			return u, true
		}
	}
	return Unit{}, false
}
