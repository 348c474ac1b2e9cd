// SPDX-License-Identifier: Apache-2.0

// Package linux decodes the headers of Linux kernels as boot loaders see
// them: the x86 setup header of a bzImage, the Image headers of arm64,
// riscv64 and loongarch64, and vmlinux as an ELF file.
//
// In: the bytes of a kernel, uncompressed as a whole (a bzImage carries its
// own decompressor). Out: the header's fields and where the parts lie.
//
// It must never decompress, place or start a kernel, and it must never judge
// whether a machine can run it: that is for package boot.
//
// Sources: Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst,
// Documentation/arch/riscv/boot-image-header.rst and
// arch/loongarch/kernel/head.S of Linux 6.12; the ELF-64 object file format.
package linux
