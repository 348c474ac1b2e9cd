// SPDX-License-Identifier: Apache-2.0

// Package hwid computes computer hardware ids (CHIDs), by which images choose
// the device tree or the firmware for a machine.
//
// In: strings of SMBIOS as /sys/class/dmi/id spells them, and the EDID of the
// display. Out: ids in the byte order of EFI_GUID, as .hwids sections hold them.
//
// It must never read a file: the strings come from the one snapshot of the
// machine.
package hwid
