// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/peelboot/peel/image"
)

// Errors of this package.
var (
	// ErrImage means an image that cannot be loaded.
	ErrImage = errors.New("image cannot be loaded")
	// ErrMemory means that there is no room for what firmware needs itself.
	ErrMemory = errors.New("guest memory too small")
	// ErrCall means that the guest called what is no service.
	ErrCall = errors.New("not a service")
	// ErrPlatform wraps failures of the Platform.
	ErrPlatform = errors.New("platform failed")
)

// Call is a service call for a trace.
type Call struct {
	Name   string
	Args   []string
	Status Status
	// Note says what came of it, such as an address, or why a pointer was
	// refused.
	Note string
}

// Variable is an EFI variable (UEFI, section 8.2).
type Variable struct {
	Name       string
	GUID       GUID
	Attributes uint32
	Data       []byte
}

// Config is what a guest gets. RAM is the Regions of type Conventional.
type Config struct {
	Arch image.Arch
	// Regions is the memory map, sorted and disjoint. Only Conventional is
	// allocated from.
	Regions []Region
	// LoadOptions is the command line for the image.
	LoadOptions string
	// Initrds are offered, one after the other, each from a multiple of four
	// bytes on, through LoadFile2.
	Initrds [][]byte
	// Dir is the file system that the image was loaded from, and Path the
	// name of the image in it, with slashes. nil is none.
	Dir  fs.FS
	Path string
	// DTB is the device tree to publish, nil for none.
	DTB []byte
	// Fixup puts into a device tree what only firmware knows; nil is nothing.
	Fixup Fixup
	// Arguments are those of a shell's command line, the image's name first;
	// nil when no shell has started the image.
	Arguments []string
	// SMBIOS and ACPI are the machine's tables, to be published as copies;
	// without an entry point, or without tables, there are none.
	SMBIOS SMBIOS
	ACPI   [][]byte
	// Variables is what GetVariable finds at first.
	Variables []Variable
	// Random is where RNG takes its bytes from.
	Random io.Reader
	// Verify judges images that the guest loads from Dir, or after it has
	// read something from there.
	Verify func(image []byte) error
	// VerifyFile judges other files of Dir before the guest reads them; nil
	// lets it read none.
	VerifyFile func(name string, data []byte) error
	// Measure says where the guest's measurements go; nil offers it no
	// protocol for them.
	Measure *Measuring
	// Console gets the text that the guest prints, as it comes.
	Console func(text string)
	// Trace gets each call, nil for none.
	Trace func(Call)
}

// Firmware serves one guest. It is to be used by one goroutine.
type Firmware struct {
	cfg   Config
	p     Platform
	mem   []byte
	ram   []Region
	trace func(Call)

	regions []Region
	mapKey  uint64
	own     []Region
	code    []Region // what is executable
	// allocations are those of types for code.
	allocations []Region
	arena       map[MemoryType]*arena
	pool        map[uint64]piece
	poolFree    map[poolClass][]uint64

	services    []service
	slots       uint64 // address of the pages with the services' code
	systemTable uint64
	bootTable   uint64
	calls       map[string]int
	count       int

	handles    []*handle
	nextHandle uint64
	images     []*loaded
	frames     []frame
	callouts   []*callout
	tables     []table
	tablesAt   uint64
	vars       []Variable
	written    []Variable
	console    []byte
	initrd     uint64 // size in bytes
	external   bool   // the guest has read files that nobody verified
	copied     uint64 // bytes of image files that the guest has loaded
	fs         *fileSystem
	events     []*event
	// registrations wait for protocols.
	registrations []*registration
	monotonic     uint64
	attributes    []Region // ranges that have any
	stalled       uint64
	tcg2          *tcg2
	cc            *cc
	smbios        []record
	notes         []string
	fatal         error // ends the guest
	leaving       bool  // ExitBootServices was called
	exited        bool
	result        Status
	ended         bool
}

// New prepares guest memory: tables, services, protocols.
func New(p Platform, cfg Config) (*Firmware, error) {
	f := &Firmware{cfg: cfg, p: p, mem: p.Memory(), trace: cfg.Trace, regions: slices.Clone(cfg.Regions), mapKey: 1,
		arena: map[MemoryType]*arena{}, pool: map[uint64]piece{}, poolFree: map[poolClass][]uint64{},
		calls: map[string]int{}, nextHandle: 1}
	for i := range f.regions {
		r := &f.regions[i]
		if r.Start%pageSize != 0 || r.Size%pageSize != 0 || r.Size == 0 || r.Start+r.Size < r.Start {
			return nil, fmt.Errorf("%w: region %#x+%#x", ErrMemory, r.Start, r.Size)
		}
		if r.Type != Conventional {
			continue
		}
		if r.End() > uint64(len(f.mem)) {
			return nil, fmt.Errorf("%w: RAM up to %#x of %#x bytes", ErrMemory, r.End(), len(f.mem))
		}
		f.ram = append(f.ram, *r)
	}
	f.vars = slices.Clone(cfg.Variables)
	if err := f.build(); err != nil {
		return nil, err
	}
	return f, nil
}

// ServiceAt tells whether pc is where a service begins.
func (f *Firmware) ServiceAt(pc uint64) bool {
	return pc >= f.slots && (pc-f.slots)%slotSize == 0 && (pc-f.slots)/slotSize < uint64(len(f.services))
}

// Call serves the call of the service at pc, at which the guest stopped. An
// error ends the guest; whatever the guest itself does wrong is answered with
// a status.
func (f *Firmware) Call(pc uint64) error {
	if !f.ServiceAt(pc) {
		return fmt.Errorf("call of %#x: %w", pc, ErrCall)
	}
	s := &f.services[(pc-f.slots)/slotSize]
	f.calls[s.name]++
	f.count++
	cpu := f.p.CPU()
	if s.control != nil {
		return s.control(f, cpu)
	}
	c := &call{f: f, args: make([]uint64, len(s.params))}
	for i := range c.args {
		v, err := cpu.Arg(i)
		if err != nil {
			c.bad = err
			break
		}
		c.args[i] = v
	}
	var shown []string
	if f.trace != nil {
		shown = f.show(s, c.args)
	}
	status := InvalidParameter
	if c.bad == nil {
		if f.exited && !s.runtime {
			status = Unsupported
			c.notef("boot services are gone")
		} else {
			status = s.do(f, c)
		}
	}
	if errors.Is(c.bad, ErrPlatform) {
		return c.bad
	}
	if c.later {
		f.tracef(s.name, Success, "%s", c.note)
		return nil
	}
	if c.bad != nil {
		status = InvalidParameter
		c.notef("%v", c.bad)
	}
	answer := uint64(status)
	if s.value {
		if c.bad != nil || f.exited {
			answer = 0
		}
		status = Success
	}
	if f.trace != nil {
		f.trace(Call{s.name, shown, status, c.note})
	}
	cpu.Return(answer)
	return f.fatal
}

// show formats arguments for people.
func (f *Firmware) show(s *service, args []uint64) []string {
	var out []string
	for i, p := range s.params {
		v := args[i]
		text := fmt.Sprintf("%#x", v)
		switch p.kind {
		case kindGUID:
			if b, err := f.view(v, 16); err == nil {
				text = GUID(b).Name()
			}
		case kindText:
			if t, err := f.text(v, 1024); err == nil {
				text = fmt.Sprintf("%q", t)
			}
		case kindType:
			text = MemoryType(v).String()
		case kindNumber:
			text = fmt.Sprint(v)
		case kindInOut:
			if b, err := f.view(v, 8); err == nil {
				text = fmt.Sprintf("&%#x", le.Uint64(b))
			}
		case kindHidden:
			continue
		}
		out = append(out, p.name+"="+text)
	}
	return out
}

// Notes tell what the guest does not find, and why, for people.
func (f *Firmware) Notes() []string { return slices.Clone(f.notes) }

// Exited tells that boot services are over.
func (f *Firmware) Exited() bool { return f.exited }

// Ended tells that the first image has returned, with which status.
func (f *Firmware) Ended() (Status, bool) { return f.result, f.ended }

// Map returns the memory map.
func (f *Firmware) Map() []Region { return slices.Clone(f.regions) }

// SystemTable returns its address.
func (f *Firmware) SystemTable() uint64 { return f.systemTable }

// Calls returns how often each service was called.
func (f *Firmware) Calls() map[string]int { return f.calls }

// Console returns what the guest printed.
func (f *Firmware) Console() string { return string(f.console) }

// Written returns the variables that the guest set, in order; Data nil means
// deleted.
func (f *Firmware) Written() []Variable { return f.written }

// Images returns where the images lie that are loaded.
func (f *Firmware) Images() []Region {
	var out []Region
	for _, i := range f.images {
		out = append(out, Region{i.base, i.size, LoaderCode, memoryAttributes})
	}
	return out
}

// Code returns what is executable beside the services' own code.
func (f *Firmware) Code() []Region { return slices.Clone(f.code) }
