// SPDX-License-Identifier: Apache-2.0

// Package firmware is the part of UEFI that Linux's EFI stub, EFI zboot and
// systemd-stub call, served to a guest whose memory and processor a Platform
// gives. docs/uefi-subset.md lists what is offered.
//
// In: where RAM is, an image that has been verified, load options, initrds,
// a directory beside the image, variables; then the guest's service calls.
// Out: changes of guest memory and registers, and at the end the memory map,
// the configuration tables, variables, measurements and console text.
//
// The tables that the guest sees are written once and never read back: what
// counts is on this side. Each address, length, string and count that the
// guest gives is checked against RAM and a limit before use. The guest is
// stopped while a service runs, and has one thread, so what was checked stays
// as it is.
//
// It must never do what a guest asks for outside of guest memory: it opens no
// file but those of the file system it was given, for reading, and writes
// none.
//
// "UEFI" in comments is the UEFI Specification, version 2.10.
package firmware
