// SPDX-License-Identifier: Apache-2.0

// Package measure says what a measured boot leaves in the registers of a TPM:
// before it happens, from the image alone; after it happened, from logs; and
// for a kernel that is started by kexec, where nobody but peel can measure.
//
// In: images, what lies beside them on the boot partition, firmware variables,
// event logs. Out: events and register values, as values; policies over them
// and their signatures.
//
// It must never change what is booted, and never touch a TPM: package
// measure/tpm does, and only extends and reads.
//
// Sources: UAPI.5 Unified Kernel Image; UAPI.7 Linux TPM PCR Registry;
// systemd-stub(7), src/boot/stub.c and src/boot/cpio.c of systemd 252 to 262
// for what is measured and in which order; drivers/firmware/efi/libstub of
// Linux for PCR 9; TCG PC Client Platform Firmware Profile 1.06, section 3.3.4,
// for PCR 4 and 7.
package measure
