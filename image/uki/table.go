// SPDX-License-Identifier: Apache-2.0

package uki

// PCRs that the stub extends with sections.
const (
	PCRKernelBoot   = 11 // sections of base and profile
	PCRKernelConfig = 12 // sections of addons, a profile other than @0
)

// Use says what a section is for.
type Use string

// Uses of sections.
const (
	// UseBoot is for what reaches the kernel: it, its initrds, its command
	// line, its device tree.
	UseBoot Use = "boot"
	// UseSelect is for what decides which other sections are used.
	UseSelect Use = "select"
	// UseFirmware is for what is handed to the firmware.
	UseFirmware Use = "firmware"
	// UseDescribe is for what is shown to people and tools.
	UseDescribe Use = "describe"
	// UseVerify is for what takes part in revocation and attestation.
	UseVerify Use = "verify"
)

// Rule is a row of the table of sections.
type Rule struct {
	// Name is the section name.
	Name string
	// Use says what the section is for.
	Use Use
	// Required is set for .linux alone: without it there is no UKI.
	Required bool
	// Multiple tells that the section may appear several times in the base
	// or in one profile.
	Multiple bool
	// PCR is the register into which the stub measures the section of a
	// UKI, 0 if it does not.
	PCR int
	// Profile tells that the section may stand behind a .profile section and
	// then replaces the base's. UAPI.5 allows that for all of them; it is
	// unset for .profile, which begins a profile.
	Profile bool
	// Addon tells that an addon may carry the section.
	Addon bool
	// AddonMain tells that an addon must have one of these.
	AddonMain bool
	// AddonPCR is the register into which the stub measures the section of
	// an addon, 0 if it does not.
	AddonPCR int
	// Description says in a few words what the section holds.
	Description string
}

// Names of the sections.
const (
	Linux    = ".linux"
	OSRel    = ".osrel"
	Cmdline  = ".cmdline"
	Initrd   = ".initrd"
	Ucode    = ".ucode"
	Splash   = ".splash"
	DTB      = ".dtb"
	Uname    = ".uname"
	SBAT     = ".sbat"
	PCRSig   = ".pcrsig"
	PCRPKey  = ".pcrpkey"
	ProfileS = ".profile"
	DTBAuto  = ".dtbauto"
	HWIDs    = ".hwids"
	EFIFW    = ".efifw"
)

// MaxProfiles is the largest number of profiles of one image.
const MaxProfiles = 256

// Rules returns the table of sections in canonical order: the order in which
// systemd's stub measures them, whatever their order in the file. UAPI.5
// lists .dtbauto, .efifw and .hwids between .dtb and .uname instead; the stub
// is what PCR values come from, and it appends new sections so that old
// values stay.
//
// .pcrsig is the only one that is not measured: it holds signatures of the
// values that the measurement of the others gives.
func Rules() []Rule {
	return []Rule{
		{Name: Linux, Use: UseBoot, Required: true, PCR: PCRKernelBoot, Profile: true, Description: "kernel"},
		{Name: OSRel, Use: UseDescribe, PCR: PCRKernelBoot, Profile: true, Description: "os-release of the operating system"},
		{Name: Cmdline, Use: UseBoot, PCR: PCRKernelBoot, Profile: true, Addon: true, AddonMain: true, AddonPCR: PCRKernelConfig, Description: "kernel command line"},
		{Name: Initrd, Use: UseBoot, PCR: PCRKernelBoot, Profile: true, Addon: true, AddonMain: true, AddonPCR: PCRKernelConfig, Description: "initial RAM disk"},
		{Name: Ucode, Use: UseBoot, PCR: PCRKernelBoot, Profile: true, Addon: true, AddonMain: true, AddonPCR: PCRKernelConfig, Description: "microcode, before every initial RAM disk"},
		{Name: Splash, Use: UseDescribe, PCR: PCRKernelBoot, Profile: true, Description: "picture shown while booting"},
		{Name: DTB, Use: UseBoot, PCR: PCRKernelBoot, Profile: true, Addon: true, AddonMain: true, AddonPCR: PCRKernelConfig, Description: "device tree"},
		{Name: Uname, Use: UseDescribe, PCR: PCRKernelBoot, Profile: true, Addon: true, Description: "kernel release"},
		{Name: SBAT, Use: UseVerify, PCR: PCRKernelBoot, Profile: true, Addon: true, Description: "revocation level of the components"},
		{Name: PCRSig, Use: UseVerify, Profile: true, Description: "signatures of expected PCR 11 values"},
		{Name: PCRPKey, Use: UseVerify, PCR: PCRKernelBoot, Profile: true, Description: "public key of the PCR signatures"},
		{Name: ProfileS, Use: UseSelect, PCR: PCRKernelBoot, Description: "begins a profile and describes it"},
		{Name: DTBAuto, Use: UseBoot, Multiple: true, PCR: PCRKernelBoot, Profile: true, Addon: true, AddonMain: true, AddonPCR: PCRKernelConfig, Description: "device tree for one machine, chosen by the stub"},
		{Name: HWIDs, Use: UseSelect, PCR: PCRKernelBoot, Profile: true, Addon: true, Description: "hardware identifiers of device trees and firmware"},
		{Name: EFIFW, Use: UseFirmware, Multiple: true, PCR: PCRKernelBoot, Profile: true, Addon: true, Description: "firmware image, chosen by the stub"},
	}
}

// RuleFor returns the row of that section name.
func RuleFor(name string) (Rule, bool) {
	for _, r := range Rules() {
		if r.Name == name {
			return r, true
		}
	}
	return Rule{}, false
}
