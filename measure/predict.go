// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/measure/eventlog"
)

// Errors of this package. Each is wrapped with what was found.
var (
	// ErrImage: the image is none that a UEFI firmware loads.
	ErrImage = errors.New("image cannot be measured")
	// ErrLimit: more than this package computes.
	ErrLimit = errors.New("measurement limit exceeded")
	// ErrCase: no case, or more than one, answers the question.
	ErrCase = errors.New("no such case")
	// ErrKey: a key is of no use for a policy.
	ErrKey = errors.New("key cannot be used")
	// ErrMismatch: registers or logs are not what they should be.
	ErrMismatch = errors.New("measurements do not match")
)

// MaxCases bounds the cases of one image: its profiles times its device trees
// and firmware images.
const MaxCases = 4096

// Options say what is known about the boot.
type Options struct {
	// Banks are the algorithms; all of eventlog.Banks if empty.
	Banks []eventlog.Hash
	// Firmware are the Secure Boot variables, nil when they are not known:
	// then there is no prediction of PCR 7.
	Firmware *Firmware
	// SecureBoot tells whether firmware checks signatures. It is taken from
	// Firmware when nil, and else off.
	SecureBoot *bool
	// Before are the images that firmware starts before this one: shim, a boot
	// loader. They count in PCR 4 and 7.
	Before []File
	// Beside are the files beside a UKI.
	Beside *Beside
	// LoadOptions are the image's load options: a profile selector, a command
	// line. For images that are no UKI, the command line.
	LoadOptions string
	// SMBIOS are words for the command line among the OEM strings of SMBIOS, as
	// machine.SMBIOS has them: the text behind
	// "io.systemd.stub.kernel-cmdline-extra=". The stub measures them by
	// themselves. It passes over them in confidential virtual machines, where
	// they must be left out here.
	SMBIOS string
	// Initrd is the RAM disk of an image that is no UKI, as firmware or a boot
	// loader hands it over.
	Initrd []byte
	// Profile limits the cases to one profile. Nil is all of them, or the one
	// that LoadOptions select.
	Profile *int
}

func (o *Options) secureBoot() bool {
	switch {
	case o.SecureBoot != nil:
		return *o.SecureBoot
	case o.Firmware != nil:
		return o.Firmware.SecureBoot()
	}
	return false
}

// Prediction is what the boot of an image leaves in the registers.
type Prediction struct {
	Image string     `json:"image"`
	Kind  image.Kind `json:"kind"`
	Stub  *Stub      `json:"stub,omitempty"`
	// SecureBoot is what the prediction of PCR 4 rests on.
	SecureBoot bool `json:"secure_boot"`
	// Cases are the ways the boot can go; one for a plain image.
	Cases []Case `json:"cases"`
	// Notes say what the prediction rests on or leaves out.
	Notes []string `json:"notes,omitempty"`
}

// Case is one way that the boot can go.
type Case struct {
	// Name tells cases apart: "", "@1", "@0, device tree vendor,board".
	Name string `json:"name,omitempty"`
	// Profile is the number of the profile, 0 for an image without.
	Profile   int    `json:"profile"`
	ProfileID string `json:"profile_id,omitempty"`
	// DeviceTree and EFIFirmware are the chosen .dtbauto and .efifw section,
	// counted from 0; -1 when none is chosen.
	DeviceTree  int `json:"device_tree"`
	EFIFirmware int `json:"efi_firmware"`
	// Cmdline is what the kernel gets.
	Cmdline string `json:"cmdline"`
	// Events are in the order in which each register sees them.
	Events []eventlog.Event `json:"events,omitempty"`
	// Values are the registers after the boot, before user space extends any.
	Values eventlog.Values `json:"values"`
}

// Predict computes what firmware, stub and kernel measure when they boot an
// image. It fails with ErrImage, with ErrLimit, and with the errors of package
// uki.
func Predict(name string, b []byte, o Options) (*Prediction, error) {
	if len(o.Banks) == 0 {
		o.Banks = eventlog.Banks()
	}
	for _, h := range o.Banks {
		if !h.Available() {
			return nil, fmt.Errorf("bank %s: %w", h, eventlog.ErrHash)
		}
	}
	if o.Beside == nil {
		o.Beside = &Beside{}
	}
	info := image.Detect(b)
	f, err := pe.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrImage, err)
	}
	p := &Prediction{Image: name, Kind: info.Kind, SecureBoot: o.secureBoot()}
	if o.Firmware == nil {
		p.note("Secure Boot variables are not known: PCR 7 is left out, and Secure Boot taken as %s", onOff(p.SecureBoot))
	}
	if uki.IsUKI(f) {
		err = p.predictUKI(f, o)
	} else {
		err = p.predictKernel(f, o)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (p *Prediction) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if !slices.Contains(p.Notes, n) {
		p.Notes = append(p.Notes, n)
	}
}

// finish computes the values of a case.
func (c *Case) finish(banks []eventlog.Hash) error {
	l := eventlog.Log{Banks: banks, Events: c.Events}
	v, err := l.ReplayAll()
	if err != nil {
		return err
	}
	c.Values = v
	for _, h := range banks {
		// Registers that this boot leaves alone are a statement too.
		for _, pcr := range []uint32{PCRKernelInitrd, PCRKernelBoot, PCRKernelConfig, PCRSysext, PCRShim} {
			if _, ok := v[h][pcr]; !ok {
				v[h][pcr] = eventlog.Initial(h, pcr)
			}
		}
	}
	return nil
}

// Log returns the events of a case as a log.
func (c *Case) Log(banks []eventlog.Hash) *eventlog.Log {
	return &eventlog.Log{Format: eventlog.TCG2, Banks: banks, Events: c.Events}
}

func (p *Prediction) predictUKI(f *pe.File, o Options) error {
	img, err := uki.Read(f)
	if err != nil {
		return err
	}
	for _, s := range f.Sections {
		if uint64(s.VirtualSize) > uint64(s.ContentSize())+maxZeros {
			return fmt.Errorf("section %s: 0x%x bytes in memory of 0x%x: %w", s.Name, s.VirtualSize, s.ContentSize(), ErrLimit)
		}
	}
	stub := ReadStub(f)
	p.Stub = &stub
	if name := uki.StubOf(f).Name; name == uki.StubLanzaboote || name == uki.StubStubble {
		p.note("%s is not systemd's stub: what it measures itself is not known, only PCR 4 and 7 are foretold", name)
		c := Case{DeviceTree: -1, EFIFirmware: -1}
		boot := bootChain{banks: o.Banks, o: &o, p: p}
		if err := boot.start(); err != nil {
			return err
		}
		if err := boot.load(p.Image, f); err != nil {
			return err
		}
		c.Events = boot.events
		l := c.Log(o.Banks)
		c.Values, err = l.ReplayAll()
		p.Cases = []Case{c}
		return err
	}
	if stub.Version == 0 {
		p.note("the stub does not say which version of systemd it is of; the rules of the newest are used")
	}
	chosen, line, err := uki.Selector(o.LoadOptions)
	if err != nil {
		// The stub takes what is no selector as text.
		chosen, line = 0, o.LoadOptions
	}
	if stub.rules() < sinceProfiles {
		chosen, line = 0, o.LoadOptions
	}
	if len(o.LoadOptions) > 0 && o.Profile == nil {
		o.Profile = &chosen
	}
	profiles := []int{0}
	if o.Profile != nil {
		profiles = []int{*o.Profile}
	} else {
		for i := 1; i < len(img.Profiles); i++ {
			profiles = append(profiles, i)
		}
	}
	for _, n := range profiles {
		sel, err := img.Select(n)
		if err != nil {
			return err
		}
		trees, wares := sel.All(uki.DTBAuto), sel.All(uki.EFIFW)
		if stub.rules() < sinceOwnLoader {
			wares = nil
		}
		if (len(trees)+1)*(len(wares)+1)+len(p.Cases) > MaxCases {
			return fmt.Errorf("more than %d cases: %w", MaxCases, ErrLimit)
		}
		u := ukiBoot{p: p, o: o, f: f, stub: stub, sel: sel, profile: n, line: stubText([]byte(line))}
		if err := u.prepare(); err != nil {
			return err
		}
		for t := -1; t < len(trees); t++ {
			for w := -1; w < len(wares); w++ {
				c := Case{Profile: n, DeviceTree: t, EFIFirmware: w}
				if n < len(img.Profiles) {
					c.ProfileID = img.Profiles[n].ID
				}
				c.Name = caseName(img, c, trees)
				if err := u.finish(&c); err != nil {
					return err
				}
				p.Cases = append(p.Cases, c)
			}
		}
	}
	return nil
}

func caseName(img *uki.Image, c Case, trees []uki.Section) string {
	var parts []string
	if len(img.Profiles) > 0 {
		text := fmt.Sprintf("@%d", c.Profile)
		if c.ProfileID != "" {
			text += fmt.Sprintf(" (%s)", c.ProfileID)
		}
		parts = append(parts, text)
	}
	if c.DeviceTree >= 0 {
		parts = append(parts, "device tree "+compatible(trees[c.DeviceTree].Data, c.DeviceTree))
	} else if len(trees) > 0 {
		parts = append(parts, "no device tree matches")
	}
	if c.EFIFirmware >= 0 {
		parts = append(parts, fmt.Sprintf("firmware image %d", c.EFIFirmware))
	}
	return strings.Join(parts, ", ")
}

// compatible names a device tree by the machine that it is for.
func compatible(b []byte, n int) string {
	if t, err := fdt.Parse(b); err == nil {
		if list, err := t.Root.Texts("compatible"); err == nil && len(list) > 0 {
			return list[0]
		}
	}
	return fmt.Sprintf("%d", n)
}

// ukiBoot computes the boot of one profile of a UKI: once what is the same in
// all of its cases, then each case.
type ukiBoot struct {
	p       *Prediction
	o       Options
	f       *pe.File
	stub    Stub
	sel     *uki.Selection
	profile int
	line    string // of the load options

	cmdline  string
	before   []eventlog.Event   // firmware's, and the profile's
	sections [][]eventlog.Event // of each section of sel
	after    []eventlog.Event   // the rest of the stub's, and the kernel's
}

// find returns a section as it is in memory. Sections of which the stub picks
// one are not asked for here.
func (u *ukiBoot) find(name string) ([]byte, bool) {
	s, ok := u.sel.Find(name)
	if !ok {
		return nil, false
	}
	return flat(inMemory(s)), true
}

func (u *ukiBoot) prepare() error {
	banks := u.o.Banks
	kernel, _ := u.find(uki.Linux)
	var addons []addon
	if u.stub.rules() >= sinceAddons {
		var notes []string
		addons, notes = readAddons(u.f, u.profile, u.o.Beside.Addons)
		for _, n := range notes {
			u.p.note("%s", n)
		}
	}

	boot := bootChain{banks: banks, o: &u.o, p: u.p}
	if err := boot.start(); err != nil {
		return err
	}
	if err := boot.load(u.p.Image, u.f); err != nil {
		return err
	}
	for _, a := range addons {
		if err := boot.load(a.name, a.file); err != nil {
			return err
		}
	}
	// Firmware is asked to load the kernel inside by stubs before 258. Under
	// Secure Boot they switch firmware's check off for it, and with it the
	// measurement.
	inner, err := pe.Parse(kernel)
	if err == nil && u.stub.rules() < sinceOwnLoader && !u.p.SecureBoot {
		if err := boot.loadInner(u.p.Image+"/.linux", inner); err != nil {
			return err
		}
	}
	u.before = boot.events
	if u.profile != 0 && u.stub.rules() >= sinceProfiles {
		text := fmt.Sprintf("%d", u.profile)
		u.before = append(u.before, taggedEvent(banks, PCRKernelConfig, TagProfile, text, eventlog.UTF16(text)))
	}
	for _, s := range u.sel.Sections {
		u.sections = append(u.sections, u.stub.sectionEvents(banks, s))
	}

	own, has := u.find(uki.Cmdline)
	u.cmdline = u.line
	if u.p.SecureBoot && has {
		u.cmdline = ""
	}
	if u.cmdline != "" {
		u.after = append(u.after, loadOptionsEvent(banks, u.cmdline))
	} else {
		u.cmdline = stubText(own)
	}
	more, err := u.stub.besideEvents(banks, addons, u.o.Beside.Groups)
	if err != nil {
		return err
	}
	u.after = append(u.after, more.cmdlineEvents...)
	words := u.smbios()
	if words != "" {
		u.after = append(u.after, loadOptionsEvent(banks, words))
	}
	u.cmdline = strings.TrimSpace(strings.TrimSpace(u.cmdline+" "+more.cmdline) + " " + words)
	u.after = append(u.after, more.events...)

	parts := append([][]byte(nil), more.ucode...)
	for _, name := range []string{uki.Ucode, uki.Initrd} {
		if data, ok := u.find(name); ok {
			parts = append(parts, data)
		}
	}
	parts = append(parts, more.generated...)
	meta, err := u.stub.metaArchives(u.find)
	if err != nil {
		return err
	}
	parts = append(parts, meta...)
	parts = append(parts, more.initrds...)
	k := kernelOf(kernel)
	u.p.noteKernel(k)
	u.after = append(u.after, k.events(banks, u.cmdline, combine(parts))...)
	return nil
}

// smbios returns the words of SMBIOS that the stub takes.
func (u *ukiBoot) smbios() string {
	switch {
	case u.o.SMBIOS == "":
		return ""
	case !beside.StubOf(image.Detect(u.f.Raw)).SMBIOS:
		u.p.note("the stub takes no words of SMBIOS: they are left out")
		return ""
	case !utf8.ValidString(u.o.SMBIOS):
		u.p.note("the words of SMBIOS are not UTF-8: what the stub makes of them is not known")
	}
	return stubText([]byte(u.o.SMBIOS))
}

// finish puts the events of a case together.
func (u *ukiBoot) finish(c *Case) error {
	c.Cmdline = u.cmdline
	c.Events = append(c.Events, u.before...)
	trees, wares := 0, 0
	for i, s := range u.sel.Sections {
		switch s.Rule.Name {
		case uki.DTBAuto:
			if trees++; trees-1 != c.DeviceTree {
				continue
			}
		case uki.EFIFW:
			if wares++; wares-1 != c.EFIFirmware {
				continue
			}
		}
		c.Events = append(c.Events, u.sections[i]...)
	}
	c.Events = append(c.Events, u.after...)
	return c.finish(u.o.Banks)
}

func (p *Prediction) predictKernel(f *pe.File, o Options) error {
	c := Case{DeviceTree: -1, EFIFirmware: -1, Cmdline: o.LoadOptions}
	boot := bootChain{banks: o.Banks, o: &o, p: p}
	if err := boot.start(); err != nil {
		return err
	}
	if err := boot.load(p.Image, f); err != nil {
		return err
	}
	c.Events = boot.events
	switch p.Kind {
	case image.KindBzImage, image.KindImage, image.KindZboot:
		k := kernelOf(f.Raw)
		p.noteKernel(k)
		var initrd [][]byte
		if len(o.Initrd) > 0 {
			initrd = [][]byte{o.Initrd}
		}
		c.Events = append(c.Events, k.events(o.Banks, c.Cmdline, initrd)...)
	default:
		p.note("the image is neither a kernel nor a UKI: what it measures itself is not known")
	}
	if err := c.finish(o.Banks); err != nil {
		return err
	}
	p.Cases = []Case{c}
	return nil
}
