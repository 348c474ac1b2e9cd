// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"github.com/peelboot/peel/efi/capture"
	"github.com/peelboot/peel/efi/firmware"
	"github.com/peelboot/peel/efi/process"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/machine"
)

// Errors of this package; those of efi/process and efi/firmware come through
// it too.
var (
	// ErrNotVerified means that nobody said that the image may run.
	ErrNotVerified = errors.New("image is not verified")
	// ErrMachine means that a fact of the machine is missing.
	ErrMachine = errors.New("fact of the machine is missing")
	// ErrImage means that the image is no EFI program for this machine.
	ErrImage = errors.New("not an EFI program that can run here")
	// ErrIllegal means that the guest did what no stub may do.
	ErrIllegal = errors.New("illegal act of the image")
	// ErrEnded means that the image ended without starting a kernel.
	ErrEnded = errors.New("image ended without starting a kernel")
	// ErrUnsupported means that this system lets no process be run the way
	// it takes (no ptrace, no executable memfd).
	ErrUnsupported = process.ErrUnsupported
	// ErrHandOver means that what was captured is no start of a kernel.
	ErrHandOver = errors.New("hand-over to the kernel cannot be believed")
)

// Call is a service call, for a trace.
type Call = firmware.Call

// Variable is an EFI variable.
type Variable = firmware.Variable

// State is what Run returns beside the sandbox that holds its memory.
type State struct {
	*capture.State
	// Measured is what the image has measured, nil when Options.Measure is.
	Measured *Measurements
	p        *process.Process
}

// Close drops the memory that Runs refer to.
func (s *State) Close() error { return s.p.Close() }

// Limits bound what an image may use up. Zero fields have defaults.
type Limits struct {
	// Time is for the whole run; 60 seconds.
	Time time.Duration
	// Memory is how many bytes of RAM may have contents; half of the RAM
	// that there is, because kexec takes no more.
	Memory int64
}

// Options are what an image is run with. Machine and Verify must be there.
type Options struct {
	Machine *machine.Machine
	// LoadOptions is the command line, or for a UKI what is added to its own
	// or replaces it; "@1" at its start selects a profile.
	LoadOptions string
	// Arguments are those of a shell that has started the image, its name
	// first; systemd-stub then takes them instead of LoadOptions. nil is none.
	Arguments []string
	// Initrds are offered to the kernel through LoadFile2, joined.
	Initrds [][]byte
	// Dir is the directory that holds the image, for addons and credentials
	// beside it, and Path the name of the image in it.
	Dir  fs.FS
	Path string
	// DTB is a device tree instead of the machine's.
	DTB []byte
	// Tables are the machine's SMBIOS and ACPI, which the image gets as
	// copies; see ReadTables. Without them it finds none.
	Tables Tables
	// Variables are what GetVariable finds at first; see VariablesOf.
	Variables []Variable
	// Verify says whether an image may run: for the image itself before its
	// first instruction, and for others that it loads from Dir.
	Verify func(image []byte) error
	// VerifyFile says whether the guest may read another file of Dir; nil
	// allows none.
	VerifyFile func(name string, data []byte) error
	// Measure offers the image the protocols of a measured boot. nil is none:
	// it finds no TPM.
	Measure *Measuring
	// Console gets the text that the image prints.
	Console func(text string)
	// Trace gets each service call and each emulated instruction.
	Trace  func(Call)
	Limits Limits
	// Random is where the guest's random numbers come from; nil is
	// crypto/rand.
	Random io.Reader
}

const (
	defaultTime = 60 * time.Second
	// maxEmulated bounds the instructions that are emulated: each run of a
	// stub needs a handful.
	maxEmulated = 1 << 16
)

// Run lets img run until it starts a kernel, and returns what it has
// prepared. The caller closes the State. The calling goroutine is bound to
// its thread meanwhile.
func Run(ctx context.Context, img []byte, o Options) (*State, error) {
	s, err := run(ctx, img, &o)
	if err != nil {
		return nil, fmt.Errorf("efi: run: %w", err)
	}
	return s, nil
}

func run(ctx context.Context, img []byte, o *Options) (*State, error) {
	if o.Verify == nil {
		return nil, fmt.Errorf("%w: nobody was asked", ErrNotVerified)
	}
	if o.Machine == nil {
		return nil, fmt.Errorf("%w: no machine", ErrMachine)
	}
	arch := hostArch()
	if _, err := pe.Parse(img); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	if err := o.Verify(img); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotVerified, err)
	}
	if got := o.Machine.CPU.Arch.Or(arch); got != arch {
		return nil, fmt.Errorf("%w: the machine is %s, this process is %s", ErrMachine, got, arch)
	}
	if c := o.Machine.Confidential.Or(machine.ConfidentialNone); c != machine.ConfidentialNone {
		return nil, fmt.Errorf("%w: confidential guest (%s): its stub needs to talk to the hypervisor, which no process can", ErrMachine, c)
	}
	regions, err := layout(o.Machine, arch, o.Machine.CPU.PageSize.Or(4096))
	if err != nil {
		return nil, err
	}
	cfg := process.Config{MaxMemory: o.Limits.Memory, MaxTime: o.Limits.Time}
	var total uint64
	for _, r := range regions {
		if r.Type == firmware.Conventional {
			cfg.RAM = append(cfg.RAM, process.Range{Start: r.Start, Size: r.Size})
			total += r.Size
		}
	}
	if cfg.MaxTime <= 0 {
		cfg.MaxTime = defaultTime
	}
	if cfg.MaxMemory <= 0 {
		cfg.MaxMemory = int64(total / 2)
	}
	p, err := process.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	g := &guest{p: p, o: o, arch: arch}
	st, err := g.run(img, regions)
	if err != nil {
		p.Close()
		if con := strings.TrimSpace(g.console()); con != "" {
			err = fmt.Errorf("%w; it printed: %s", err, lastLines(con))
		}
		return nil, err
	}
	return &State{st, g.fw.Measurements(), p}, nil
}

func hostArch() image.Arch {
	switch runtime.GOARCH {
	case "amd64":
		return image.ArchX86_64
	case "arm64":
		return image.ArchARM64
	}
	return image.ArchUnknown
}

// lastLines cuts console text to what fits an error.
func lastLines(s string) string {
	const most = 600
	if len(s) > most {
		s = "... " + s[len(s)-most:]
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r", ""), "\n", " / ")
}

// guest is a run in progress.
type guest struct {
	p        *process.Process
	fw       *firmware.Firmware
	o        *Options
	arch     image.Arch
	emulated int
	marks    []mark
	exited   bool
}

func (g *guest) console() string {
	if g.fw == nil {
		return ""
	}
	return g.fw.Console()
}

func (g *guest) run(img []byte, regions []firmware.Region) (*capture.State, error) {
	random := g.o.Random
	if random == nil {
		random = rand.Reader
	}
	dtb, err := guestTree(g.o, g.arch)
	if err != nil {
		return nil, err
	}
	g.fw, err = firmware.New(platform{g.p}, firmware.Config{
		Arch: g.arch, Regions: regions, LoadOptions: g.o.LoadOptions, Initrds: g.o.Initrds, Dir: g.o.Dir, Path: g.o.Path,
		DTB: dtb, Variables: g.o.Variables, Random: random, Measure: g.o.Measure, Verify: g.o.Verify, VerifyFile: g.o.VerifyFile,
		Arguments: g.o.Arguments, Fixup: treeFixup(g.o, g.arch), SMBIOS: g.o.Tables.SMBIOS, ACPI: g.o.Tables.ACPI,
		Console: g.o.Console, Trace: g.o.Trace,
	})
	if err != nil {
		return nil, err
	}
	if err := g.fw.Start(img); err != nil {
		return nil, err
	}
	for {
		stop, err := g.p.Resume()
		if err != nil {
			return nil, err
		}
		entry, done, err := g.handle(stop)
		if err != nil {
			return nil, err
		}
		if done {
			return g.capture(entry)
		}
	}
}

// handle does what a stop asks for. done means that the kernel is about to
// start at entry.
func (g *guest) handle(s process.Stop) (entry uint64, done bool, err error) {
	if s.Kind == process.Trap && g.fw.ServiceAt(s.PC) {
		if err := g.fw.Call(s.PC); err != nil {
			return 0, false, err
		}
		if status, ended := g.fw.Ended(); ended {
			return 0, false, fmt.Errorf("%w: %v", ErrEnded, status)
		}
		if g.fw.Exited() && !g.exited {
			g.exited = true
			g.mark()
		}
		return 0, false, nil
	}
	if g.fw.Exited() {
		if s.Kind == process.Fetch && s.Addr == s.PC {
			return s.PC, true, nil
		}
		if s.Kind == process.Trap && g.marked(s.PC) {
			return s.PC, true, nil
		}
		if at, ok := g.p.AtHandOver(s); ok {
			return at, true, nil
		}
	}
	switch s.Kind {
	case process.Fetch:
		ok, err := g.fw.RunnableCode(s.Addr)
		if err != nil || ok {
			return 0, false, err
		}
	case process.Illegal:
		what, ok, err := g.p.Emulate()
		if err != nil {
			return 0, false, err
		}
		if ok && g.emulated < maxEmulated {
			g.emulated++
			if g.o.Trace != nil {
				g.o.Trace(Call{Name: "instruction", Note: fmt.Sprintf("%#x: %s", s.PC, what)})
			}
			return 0, false, nil
		}
		return 0, false, g.illegal(s, what)
	}
	return 0, false, g.illegal(s, "")
}

func (g *guest) illegal(s process.Stop, what string) error {
	where := ""
	for _, r := range g.fw.Images() {
		if s.PC >= r.Start && s.PC < r.End() {
			where = fmt.Sprintf(" (image offset %#x)", s.PC-r.Start)
		}
	}
	if what != "" {
		what = ": " + what
	}
	return fmt.Errorf("%w: %v%s%s", ErrIllegal, s, where, what)
}
