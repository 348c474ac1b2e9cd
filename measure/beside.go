// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/measure/eventlog"
)

// File is a file that takes part in a boot beside the image.
type File struct {
	// Name is the base name.
	Name string
	Data []byte
}

// Group is a set of files that the stub packs into one archive.
type Group struct {
	Archive beside.Archive
	Files   []File
}

// Beside is what the stub picks up on the boot partition beside a UKI.
type Beside struct {
	// Addons are in the order in which they apply.
	Addons []File
	// Groups are in the order in which the stub packs them.
	Groups []Group
}

// maxFile bounds a file beside an image in bytes.
const maxFile = 2 << 30

// ReadBeside reads what lies beside the image at path; root is where its
// volume is mounted, empty to leave out what is for all images. It fails with
// ErrLimit, and with errors of package beside and of the file system.
func ReadBeside(path, root string) (*Beside, error) {
	found, err := beside.Find(path, root)
	if err != nil {
		return nil, err
	}
	b := &Beside{}
	read := func(path string) (File, error) {
		data, err := readLimited(path, maxFile)
		return File{filepath.Base(path), data}, err
	}
	for _, p := range found.Addons {
		f, err := read(p)
		if err != nil {
			return nil, err
		}
		b.Addons = append(b.Addons, f)
	}
	for _, g := range found.Groups {
		list := Group{Archive: g.Archive}
		for _, p := range g.Paths {
			f, err := read(p)
			if err != nil {
				return nil, err
			}
			list.Files = append(list.Files, f)
		}
		b.Groups = append(b.Groups, list)
	}
	return b, nil
}

// archiveRule says how the stub measures an archive.
type archiveRule struct {
	target string
	pcr    uint32
	text   string
	since  int
}

func archiveRules() []archiveRule {
	return []archiveRule{
		{".extra/credentials", PCRKernelConfig, "Credentials initrd", 0},
		{".extra/global_credentials", PCRKernelConfig, "Global credentials initrd", 0},
		{".extra/sysext", PCRSysext, "System extension initrd", 0},
		{".extra/global_sysext", PCRSysext, "Global system extension initrd", sinceGlobalExt},
		{".extra/confext", PCRKernelConfig, "Configuration extension initrd", sinceConfext},
		{".extra/global_confext", PCRKernelConfig, "Global configuration extension initrd", sinceGlobalExt},
	}
}

func ruleOf(target string) (archiveRule, bool) {
	for _, r := range archiveRules() {
		if r.target == target {
			return r, true
		}
	}
	return archiveRule{}, false
}

func (r archiveRule) event(banks []eventlog.Hash, archive []byte) eventlog.Event {
	return eventlog.NewEvent(r.pcr, eventlog.IPL, banks, eventlog.UTF16(r.text), archive)
}

// addon is an addon that firmware loads.
type addon struct {
	name string
	file *pe.File
	// sections is empty when the stub ignores the addon.
	sections map[string]uki.Section
}

// readAddons parses addons. What the stub or firmware would not take gets a
// note that says why.
func readAddons(img *pe.File, profile int, files []File) (out []addon, notes []string) {
	for _, f := range files {
		p, err := pe.Parse(f.Data)
		if err != nil || p.Machine != img.Machine {
			if err == nil {
				err = fmt.Errorf("it is for machine type 0x%04x", p.Machine)
			}
			notes = append(notes, fmt.Sprintf("addon %s: firmware does not load it: %v", f.Name, err))
			continue
		}
		a := addon{name: f.Name, file: p, sections: map[string]uki.Section{}}
		out = append(out, a)
		if err := uki.CheckAddon(img, fmt.Sprint(profile), f.Data); err != nil {
			notes = append(notes, fmt.Sprintf("addon %s: the stub ignores it, but firmware has measured it: %v", f.Name, err))
			continue
		}
		for _, h := range p.Sections {
			r, ok := uki.RuleFor(h.Name)
			if _, twice := a.sections[h.Name]; ok && !twice {
				a.sections[h.Name] = uki.Section{Rule: r, Header: h, Data: p.Data(h)}
			}
		}
	}
	return out, notes
}

// pieces are what lies beside an image adds to a boot.
type pieces struct {
	cmdlineEvents []eventlog.Event // before those of SMBIOS, the others behind

	events    []eventlog.Event
	ucode     [][]byte // in the order of use
	generated [][]byte
	initrds   [][]byte
	cmdline   string
}

// besideEvents applies what lies beside an image: the events of PCR 12 and 13
// and what the boot gets. Command lines come first; DTB addons before the
// archives that the stub packs, ucode and initrd addons behind.
func (s Stub) besideEvents(banks []eventlog.Hash, addons []addon, groups []Group) (*pieces, error) {
	p := &pieces{}
	var lines []string
	for _, a := range addons {
		if c, ok := a.sections[uki.Cmdline]; ok {
			if line := stubText(flat(inMemory(c))); line != "" {
				lines = append(lines, line)
			}
		}
	}
	if p.cmdline = strings.Join(lines, " "); p.cmdline != "" {
		p.cmdlineEvents = append(p.cmdlineEvents, loadOptionsEvent(banks, p.cmdline))
	}
	for _, a := range addons {
		dtb, ok := a.sections[uki.DTBAuto]
		if !ok || s.rules() < sinceProfiles {
			dtb, ok = a.sections[uki.DTB]
		}
		if ok {
			p.events = append(p.events, taggedEvent(banks, PCRKernelConfig, TagDeviceTreeAddon, a.name, inMemory(dtb)...))
		}
	}
	for _, g := range groups {
		rule, ok := ruleOf(g.Archive.Target)
		if !ok || s.rules() < rule.since || len(g.Files) == 0 {
			continue
		}
		data, err := pack(g.Archive, g.Files)
		if err != nil {
			return nil, err
		}
		p.events = append(p.events, rule.event(banks, data))
		p.generated = append(p.generated, data)
	}
	if s.rules() < sinceInitrdAddons {
		return p, nil
	}
	for i := len(addons) - 1; i >= 0; i-- {
		if u, ok := addons[i].sections[uki.Ucode]; ok {
			p.events = append(p.events, taggedEvent(banks, PCRKernelConfig, TagUcodeAddon, addons[i].name, inMemory(u)...))
			p.ucode = append(p.ucode, flat(inMemory(u)))
		}
	}
	for _, a := range addons {
		if i, ok := a.sections[uki.Initrd]; ok {
			p.events = append(p.events, taggedEvent(banks, PCRKernelConfig, TagInitrdAddon, a.name, inMemory(i)...))
			p.initrds = append(p.initrds, flat(inMemory(i)))
		}
	}
	return p, nil
}

func pack(a beside.Archive, files []File) ([]byte, error) {
	var members []beside.Member
	for _, f := range files {
		members = append(members, beside.Member{Name: f.Name, Data: f.Data})
	}
	return a.Pack(members...)
}

// metaArchives are the archives that the stub packs of sections of its own
// image; they are not measured as such.
func (s Stub) metaArchives(find func(string) ([]byte, bool)) ([][]byte, error) {
	var out [][]byte
	for _, m := range []struct {
		section, name string
		since         int
	}{
		{uki.PCRSig, "tpm2-pcr-signature.json", 0},
		{uki.PCRPKey, "tpm2-pcr-public-key.pem", 0},
		{uki.OSRel, "os-release", sinceExtraMeta},
		{uki.ProfileS, "profile", sinceExtraMeta},
	} {
		data, ok := find(m.section)
		if !ok || s.rules() < m.since {
			continue
		}
		b, err := beside.Meta().Pack(beside.Member{Name: m.name, Data: data})
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func flat(parts [][]byte) []byte {
	if len(parts) == 1 {
		return parts[0]
	}
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// combine lists the runs of bytes that make up the stub's RAM disk: the
// archives, each padded to four bytes when there is more than one. A single one
// stays as it is.
func combine(parts [][]byte) [][]byte {
	var all [][]byte
	for _, p := range parts {
		if len(p) > 0 {
			all = append(all, p)
		}
	}
	if len(all) < 2 {
		return all
	}
	var out [][]byte
	for _, p := range all {
		out = append(out, p)
		if n := len(p) % 4; n != 0 {
			out = append(out, make([]byte, 4-n))
		}
	}
	return out
}

// stubText is the command line that the stub makes of bytes; text that is not
// UTF-8 is taken as far as UTF-16 can tell it.
func stubText(b []byte) string {
	line, err := uki.CmdlineText(b)
	if err != nil {
		line, _ = uki.CmdlineText([]byte(string(utf16.Decode(utf16.Encode([]rune(string(b)))))))
	}
	return line
}
