// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"errors"
	"fmt"
)

// maxFrames is how deep functions may call each other, the entry included.
const maxFrames = 8

// stackBytes is the stack of one frame; R10 points to its end.
const stackBytes = 512

// A Machine is an object linked against a host: its maps live, its programs
// ready to run. It must not be used by two goroutines at a time.
type Machine struct {
	object *Object
	host   *Host
	opts   Options

	space  space
	maps   []*mapState
	byAddr map[uint64]*mapState // map address to map
	code   map[string]*code
	// callx permits helper calls through a register.
	callx bool
	// stackPerm is what a live frame allows.
	stackPerm Perm
	memory    uint64 // bytes held by maps and records
	records   map[uint64]record

	// One Run.
	ctx       context.Context
	running   bool
	fuel      uint64 // instructions left
	nextCheck uint64 // look at ctx when fuel is this low
	depth     int    // frames in use
	stack     [maxFrames]frame
	refs      map[uint64]int // references held, by value
}

// frame is one activation of a function.
type frame struct {
	addr  uint64 // of the stack region
	stack []byte
	ret   int       // slot to return to
	saved [4]uint64 // the caller's R6 to R9
	loops uint64    // may_goto taken not yet
}

// code is a program ready to run.
type code struct {
	name   string
	prog   *Program
	raw    []byte // relocated, for disassembly
	ins    []ins
	calls  []Func
	kfuncs []linkedKfunc
}

type linkedKfunc struct {
	name string
	Kfunc
}

// newMachine makes a machine without programs or maps.
func newMachine(o *Object, h *Host, opts Options) (*Machine, error) {
	if opts.Budget.Instructions == 0 {
		opts.Budget.Instructions = DefaultInstructions
	}
	if opts.Budget.Memory == 0 {
		opts.Budget.Memory = DefaultMemory
	}
	if opts.Budget.Touched == 0 {
		opts.Budget.Touched = opts.Budget.Memory
	}
	m := &Machine{
		object:    o,
		host:      h,
		opts:      opts,
		stackPerm: PermRead | PermWrite | PermAligned,
		space:     newSpace(),
		byAddr:    map[uint64]*mapState{},
		code:      map[string]*code{},
		records:   map[uint64]record{},
		refs:      map[uint64]int{},
	}
	m.space.limit = opts.Budget.Touched
	stacks := make([]byte, maxFrames*stackBytes)
	for i := range m.stack {
		f := &m.stack[i]
		f.stack = stacks[i*stackBytes : (i+1)*stackBytes : (i+1)*stackBytes]
		addr, err := m.space.add(fmt.Sprintf("stack of frame %d", i), f.stack, 0)
		if err != nil {
			return nil, err
		}
		f.addr = addr
	}
	return m, nil
}

// Run runs a program to its EXIT and returns R0. args become R1 to R5.
//
// Whatever stops the program early is a *Fault. Maps keep what the program
// wrote, for the next Run as well; ring-buffer records that it still holds are
// discarded.
func (m *Machine) Run(ctx context.Context, program string, args ...uint64) (uint64, error) {
	p, err := m.object.Program(program)
	if err != nil {
		return 0, err
	}
	c := m.code[p.Name]
	if c == nil {
		return 0, fmt.Errorf("%q: %w", program, ErrNoProgram)
	}
	return m.run(ctx, c, args)
}

func (m *Machine) run(ctx context.Context, c *code, args []uint64) (r0 uint64, err error) {
	if m.running {
		return 0, fmt.Errorf("program %s: %w", c.name, ErrBusy)
	}
	if len(args) > 5 {
		return 0, fmt.Errorf("program %s: %d arguments: %w", c.name, len(args), ErrArgument)
	}
	m.running = true
	defer func() {
		if e := m.dropRecords(); err == nil {
			err = e
		}
		m.running = false
	}()
	m.ctx = ctx
	m.fuel = m.opts.Budget.Instructions
	m.nextCheck = m.fuel
	m.depth = 0
	clear(m.refs)
	var a [5]uint64
	copy(a[:], args)
	return m.exec(c, 0, a)
}

// Program returns the names of the programs that can be run.
func (m *Machine) Programs() []string {
	var names []string
	for _, p := range m.object.Programs {
		names = append(names, p.Name)
	}
	return names
}

// Charge takes n instructions from the budget of the running program, for
// work that a host function does on its behalf. It fails with ErrInstructions
// when the budget is used up and with ErrTime when the context ended.
func (m *Machine) Charge(n uint64) error {
	if n > m.fuel {
		m.fuel = 0
		return ErrInstructions
	}
	m.fuel -= n
	if m.fuel <= m.nextCheck {
		return m.checkTime()
	}
	return nil
}

// checkEvery is how many instructions may pass between looks at the context.
const checkEvery = 1 << 16

// checkTime looks at the context and says when to look again.
func (m *Machine) checkTime() error {
	m.nextCheck = 0
	if m.fuel > checkEvery {
		m.nextCheck = m.fuel - checkEvery
	}
	if m.ctx == nil {
		return nil
	}
	if err := m.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrTime, err)
	}
	return nil
}

// Held returns how many references the running program holds.
func (m *Machine) Held() int {
	n := 0
	for _, c := range m.refs {
		n += c
	}
	return n
}

func (m *Machine) acquire(v uint64) { m.refs[v]++ }

func (m *Machine) release(v uint64) error {
	n := m.refs[v]
	switch n {
	case 0:
		return fmt.Errorf("release of %s: %w", m.Describe(v), ErrReference)
	case 1:
		delete(m.refs, v)
	default:
		m.refs[v] = n - 1
	}
	return nil
}

// Touched returns how many bytes of maps and records are real: the account that
// Budget.Touched limits.
func (m *Machine) Touched() uint64 { return m.space.touched }

// Close gives back the memory of records. The machine must not be used any
// more, nor what it handed out.
func (m *Machine) Close() error {
	errs := []error{m.dropRecords()}
	for _, s := range m.maps {
		errs = append(errs, s.ring.spare.drop(m))
		s.ring.spare = backing{}
	}
	return errors.Join(errs...)
}

// reserve counts n bytes against the memory budget.
func (m *Machine) reserve(n uint64) error {
	if n > m.opts.Budget.Memory-m.memory {
		return fmt.Errorf("%#x bytes, %#x of %#x in use: %w", n, m.memory, m.opts.Budget.Memory, ErrMemory)
	}
	m.memory += n
	return nil
}

// fault wraps err with the place it happened at.
func (c *code) fault(pc int, err error) *Fault {
	var inner *Fault
	if errors.As(err, &inner) && inner.Program == c.name {
		return inner
	}
	f := &Fault{Program: c.name, Index: pc, Instruction: disassemble(c.raw, pc), Err: err}
	if c.prog != nil {
		f.Function = c.prog.functionAt(pc)
		f.File, f.Line, f.Source = c.prog.lineAt(pc)
	}
	return f
}
