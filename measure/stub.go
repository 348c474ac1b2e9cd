// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/measure/eventlog"
)

// Registers that a measured boot of Linux uses (UAPI.7).
const (
	PCRBootLoader   = 4 // images that firmware loads
	PCRSecureBoot   = 7 // Secure Boot variables and authorities
	PCRKernelInitrd = 9 // the kernel's EFI stub: load options and initrd
	PCRKernelBoot   = uki.PCRKernelBoot
	PCRKernelConfig = uki.PCRKernelConfig
	PCRSysext       = 13 // system extensions
	PCRShim         = 14 // shim's lists of owner keys
)

// Tags of EV_EVENT_TAG events (src/fundamental/tpm2-pcr.h of systemd;
// drivers/firmware/efi/libstub/efistub.h of Linux).
const (
	TagDeviceTreeAddon = 0x6c46f751
	TagInitrdAddon     = 0x49dffe0f
	TagUcodeAddon      = 0xdac08e1a
	TagProfile         = 0x13aed6db
	TagInitrd          = 0x8f3b22ec
	TagLoadOptions     = 0x8f3b22ed
)

// Stub is the program in front of a UKI that measures its sections.
type Stub struct {
	// Name is what the program calls itself, "systemd-stub 257.13-1", empty
	// when it does not.
	Name string `json:"name,omitempty"`
	// Version is the major version of systemd, 0 if it is not systemd's.
	Version int `json:"version,omitempty"`
}

// newest is the version whose rules hold for a stub that does not say what it
// is.
const newest = 1 << 30

// ReadStub finds out which stub a UKI has.
func ReadStub(f *pe.File) Stub {
	s := uki.StubOf(f)
	out := Stub{Name: s.String()}
	if s.Name == uki.StubSystemd {
		out.Version = s.Major()
	}
	return out
}

// rules is the version whose rules hold.
func (s Stub) rules() int {
	if s.Version == 0 {
		return newest
	}
	return s.Version
}

// measures reports whether this stub measures a section: stubs know those of
// their time.
func (s Stub) measures(name string) bool {
	since := map[string]int{
		uki.Uname: 254, uki.SBAT: 254, uki.Ucode: 256, uki.ProfileS: 257, uki.DTBAuto: 257, uki.HWIDs: 257, uki.EFIFW: 258,
	}[name]
	return s.rules() >= since
}

// Versions from which the stub does something.
const (
	sinceAddons       = 254 // *.addon.efi with .cmdline and .dtb
	sinceInitrdAddons = 257 // addons with .initrd and .ucode
	sinceConfext      = 255 // *.confext.raw
	sinceExtraMeta    = 257 // os-release and profile in /.extra
	sinceGlobalExt    = 258 // extensions of all images
	sinceOwnLoader    = 258 // loads the kernel itself instead of asking firmware
	sinceProfiles     = 257
)

// sectionEvents returns the two events of a section: of its name, and of its
// contents.
func (s Stub) sectionEvents(banks []eventlog.Hash, sec uki.Section) []eventlog.Event {
	if sec.Rule.PCR == 0 || !s.measures(sec.Rule.Name) {
		return nil
	}
	name := []byte(sec.Rule.Name + "\x00")
	text := eventlog.UTF16(sec.Rule.Name)
	return []eventlog.Event{
		eventlog.NewEvent(uint32(sec.Rule.PCR), eventlog.IPL, banks, text, name),
		eventlog.NewEvent(uint32(sec.Rule.PCR), eventlog.IPL, banks, text, inMemory(sec)...),
	}
}

// maxZeros bounds the zeros that extend a section in memory. An image is at
// most 4 GiB in memory; more than this is padding nobody boots.
const maxZeros = 256 << 20

// inMemory returns the section as the stub sees it: its contents, and zeros up
// to VirtualSize.
func inMemory(s uki.Section) [][]byte {
	out := [][]byte{s.Data}
	if n := uint64(s.Header.VirtualSize); n > uint64(len(s.Data)) {
		out = append(out, zeros(n-uint64(len(s.Data)))...)
	}
	return out
}

// zeros returns n zero bytes as views of one page.
func zeros(n uint64) [][]byte {
	n = min(n, maxZeros)
	page := make([]byte, min(n, 1<<20))
	var out [][]byte
	for n > 0 {
		k := min(n, uint64(len(page)))
		out = append(out, page[:k])
		n -= k
	}
	return out
}

// loadOptionsEvent is how the stub measures a command line.
func loadOptionsEvent(banks []eventlog.Hash, line string) eventlog.Event {
	text := eventlog.UTF16(line)
	return eventlog.NewEvent(PCRKernelConfig, eventlog.IPL, banks, text, text)
}

func taggedEvent(banks []eventlog.Hash, pcr uint32, tag uint32, description string, measured ...[]byte) eventlog.Event {
	return eventlog.NewEvent(pcr, eventlog.EventTag, banks, eventlog.AppendTagged(nil, tag, eventlog.UTF16(description)), measured...)
}
