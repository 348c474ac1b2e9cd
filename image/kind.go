// SPDX-License-Identifier: Apache-2.0

package image

// Kind says what a run of bytes is.
type Kind string

// The kinds of image that Detect tells apart.
const (
	KindUnknown   Kind = "unknown"
	KindPE        Kind = "pe"         // a PE image that is none of the kinds below
	KindUKI       Kind = "uki"        // PE with a .linux section
	KindThin      Kind = "thin"       // PE with paths and digests of kernel and initrd
	KindAddon     Kind = "addon"      // PE without .linux that extends a UKI
	KindZboot     Kind = "zboot"      // EFI zboot, vmlinuz.efi
	KindBzImage   Kind = "bzimage"    // x86 bzImage
	KindImage     Kind = "image"      // arm64, riscv64 or loongarch64 Image
	KindVmlinux   Kind = "vmlinux"    // kernel as ELF
	KindContainer Kind = "container"  // ELF with .bpf.N sections: parser programs
	KindEnvelope  Kind = "envelope"   // ELF with .kernel, .uki or .pe.N sections: data
	KindCompress  Kind = "compressed" // gzip, xz, zstd, lz4 … around something else
)
