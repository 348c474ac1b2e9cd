// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package process

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/peelboot/peel/internal/unix"
)

var le = binary.LittleEndian

// minAddress is the lowest address that is mapped: below, ordinary users may
// map nothing (vm.mmap_min_addr).
const minAddress = 0x10000

// Process is a stopped or running sandbox. All its methods are to be called
// from the goroutine that called Start, which stays on its thread until
// Close: only the thread that started a traced process may control it.
type Process struct {
	cfg    Config
	ram    *os.File
	mem    []byte
	t      *unix.Traced
	base   uint64 // address of the page that is ours
	first  registers
	cpu    CPU
	stops  int
	kill   *watchdog
	closed bool
}

// Start makes a process, with all RAM zero, readable and writable. It ends,
// and Resume returns the reason, when ctx is done.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	p := &Process{cfg: cfg}
	if err := p.start(ctx); err != nil {
		p.Close()
		return nil, fmt.Errorf("start sandbox: %w: %w%s", ErrUnsupported, err, advice(err))
	}
	return p, nil
}

func (p *Process) start(ctx context.Context) error {
	top := p.cfg.RAM[len(p.cfg.RAM)-1].End()
	p.base = stubAddress(top)
	var err error
	if p.ram, err = unix.MemfdCreate("peel-guest-ram"); err != nil {
		return err
	}
	if err := p.ram.Truncate(int64(top)); err != nil {
		return err
	}
	if err := unix.SealSize(p.ram); err != nil {
		return err
	}
	if p.mem, err = unix.MapSparse(p.ram, int(top)); err != nil {
		return err
	}
	if err := p.spawn(); err != nil {
		return err
	}
	if err := p.getRegs(&p.first); err != nil {
		return err
	}
	p.first.clear()
	p.cpu = CPU{p: p, regs: p.first}
	if err := p.isolate(); err != nil {
		return err
	}
	p.kill = newWatchdog(ctx, p)
	return nil
}

// isolate takes away everything that the child has and gives it RAM.
func (p *Process) isolate() error {
	if err := p.t.Limit(); err != nil {
		return err
	}
	if _, err := p.inject(unix.SysPrctl, unix.PrSetNoNewPrivs, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	regions, err := p.mappings()
	if err != nil {
		return err
	}
	for _, r := range regions {
		_, err := p.inject(unix.SysMunmap, r.start, r.end-r.start)
		// Some kernels seal the pages that they map themselves. Those are
		// read-only, and their code can do no more than any other.
		if err != nil && !(errors.Is(err, unix.EPERM) && strings.HasPrefix(r.name, "[v")) {
			return fmt.Errorf("unmap %s: %w", r.name, err)
		}
	}
	for _, r := range p.cfg.RAM {
		start, end := max(r.Start, minAddress), r.End()
		if start >= end {
			continue
		}
		at, err := p.inject(unix.SysMmap, start, end-start, unix.ProtRead|unix.ProtWrite,
			unix.MmapShared|unix.MapNoReserve|unix.MapFixedNoReplace, 0, start)
		if err != nil || at != start {
			return fmt.Errorf("map RAM %#x+%#x: got %#x, %w", start, end-start, at, err)
		}
	}
	if _, err := p.inject(unix.SysCloseRange, 0, 0xffffffff, 0); errors.Is(err, unix.ENOSYS) {
		for fd := range uint64(256) {
			p.inject(unix.SysClose, fd) // most of them are not open
		}
	} else if err != nil {
		return fmt.Errorf("close files: %w", err)
	}
	if _, err := p.inject(unix.SysSeccomp, unix.SeccompSetModeFilter, 0, p.base+stubFprog); err != nil {
		return fmt.Errorf("seccomp filter: %w", err)
	}
	return nil
}

type mapping struct {
	start, end uint64
	name       string
}

// mappings lists what is mapped beside our page.
func (p *Process) mappings() ([]mapping, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", p.t.PID))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []mapping
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		lo, hi, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(lo, 16, 64)
		end, err2 := strconv.ParseUint(hi, 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		name := fields[len(fields)-1]
		if start == p.base || name == "[vsyscall]" {
			continue
		}
		out = append(out, mapping{start, end, name})
	}
	return out, s.Err()
}

// inject lets the child do a system call of ours.
func (p *Process) inject(nr int, args ...uint64) (uint64, error) {
	r := p.first
	r.syscall(p.base+stubSyscall, nr, args)
	if err := p.step(&r); err != nil {
		return 0, err
	}
	v := r.result()
	if v > ^uint64(4095) {
		return 0, unix.Errno(-int64(v))
	}
	return v, nil
}

// step does one instruction with the registers r and reads them back.
func (p *Process) step(r *registers) error {
	if err := p.setRegs(r); err != nil {
		return p.gone(err)
	}
	if err := p.t.Step(); err != nil {
		return p.gone(err)
	}
	s, err := p.wait()
	if err != nil {
		return err
	}
	if s.Signal != unix.SIGTRAP || s.Syscall {
		return p.gone(fmt.Errorf("%v while it did a step for its parent", s))
	}
	if err := p.getRegs(r); err != nil {
		return p.gone(err)
	}
	return nil
}

// wait waits for the next stop and tells why the child is gone when it is.
func (p *Process) wait() (unix.Stop, error) {
	s, err := p.t.Wait()
	if err != nil {
		return s, err
	}
	if s.Exited {
		t := p.t
		p.t = nil
		if p.kill != nil {
			p.kill.end()
			if err := p.kill.why(); err != nil {
				return s, err
			}
		}
		return s, fmt.Errorf("%w: process %d: %v", ErrDied, t.PID, s)
	}
	return s, nil
}

// Resume lets the process run until it stops.
func (p *Process) Resume() (Stop, error) {
	for {
		if p.t == nil {
			return Stop{}, ErrDied
		}
		if err := p.kill.check(); err != nil {
			return Stop{}, err
		}
		if err := p.setRegs(&p.cpu.regs); err != nil {
			return Stop{}, p.gone(err)
		}
		if err := p.t.Sysemu(); err != nil {
			return Stop{}, p.gone(err)
		}
		s, err := p.wait()
		if err != nil {
			return Stop{}, err
		}
		p.stops++
		if err := p.getRegs(&p.cpu.regs); err != nil {
			return Stop{}, p.gone(err)
		}
		stop := Stop{PC: p.cpu.regs.pc(), Signal: s.Signal}
		if s.Syscall {
			stop.Kind = Syscall
			stop.PC = p.cpu.regs.pc() - syscallSize
			return stop, nil
		}
		code, addr, err := p.t.Siginfo()
		if err != nil {
			return Stop{}, p.gone(err)
		}
		stop.Code, stop.Addr = code, addr
		if p.classify(&stop) {
			return stop, nil
		}
		// A signal from outside, such as that of a terminal: the parent gets
		// it too and decides.
	}
}

const siKernel = 0x80 // si_code: the kernel raised it without a reason of its own

func (p *Process) classify(s *Stop) bool {
	switch s.Signal {
	case unix.SIGTRAP:
		s.Kind = Illegal
		if pc, ok := breakpoint(s); ok {
			s.Kind, s.PC = Trap, pc
		}
	case unix.SIGSEGV, unix.SIGBUS:
		switch {
		case s.Code <= 0:
			return false
		case s.Code == siKernel:
			s.Kind = Illegal
		case s.Addr == s.PC, p.straddles(s):
			s.Kind = Fetch
		default:
			s.Kind = Access
		}
	case unix.SIGILL, unix.SIGFPE, unix.SIGSYS:
		if s.Code <= 0 {
			return false
		}
		s.Kind = Illegal
	default:
		return false
	}
	return true
}

// straddles tells an instruction whose end is in a page that is not code from
// one that uses such a page as data, which RAM allows.
func (p *Process) straddles(s *Stop) bool {
	const accessError, longest = 2, 15
	return s.Code == accessError && s.Addr > s.PC && s.Addr-s.PC < longest && s.Addr%pageSize == 0 && p.within(s.Addr, 1)
}

// gone explains an error of ptrace: most often the watchdog was faster.
func (p *Process) gone(err error) error {
	if errors.Is(err, ErrMode) {
		return err
	}
	if p.t != nil {
		p.t.Kill()
		if _, werr := p.wait(); werr != nil {
			return werr
		}
	}
	return fmt.Errorf("%w: %w", ErrDied, err)
}

func (p *Process) getRegs(r *registers) error {
	n, err := p.t.Registers(r[:])
	if err != nil {
		return err
	}
	if n != len(r)*8 || !r.native() {
		return fmt.Errorf("%w at %#x", ErrMode, r.pc())
	}
	return nil
}

func (p *Process) setRegs(r *registers) error { return p.t.SetRegisters(r[:]) }

// Memory returns RAM by physical address. It is shared with the process,
// which is stopped whenever a method of Process is not running. What is not
// RAM by Config is there too but the process never sees it.
func (p *Process) Memory() []byte { return p.mem }

// RAM returns where RAM is, as in Config.
func (p *Process) RAM() []Range { return p.cfg.RAM }

// CPU returns the registers.
func (p *Process) CPU() *CPU { return &p.cpu }

// Stops returns how often the process stopped.
func (p *Process) Stops() int { return p.stops }

// Isolation says in a few words how the process is kept apart.
func (p *Process) Isolation() string {
	s := "traced process without system calls, seccomp, no_new_privs"
	if p.t == nil {
		return s
	}
	if p.t.Namespaces {
		return s + ", own namespaces"
	}
	return fmt.Sprintf("%s, no namespaces (%v)", s, p.t.WhyNot)
}

// Protect changes the protection of pages of RAM.
func (p *Process) Protect(r Range, prot Prot) error {
	if p.t == nil {
		return ErrDied
	}
	if !p.within(r.Start, r.Size) {
		return fmt.Errorf("protect %#x+%#x: %w", r.Start, r.Size, ErrAddress)
	}
	page := uint64(os.Getpagesize())
	start := r.Start &^ (page - 1)
	end := (r.End() + page - 1) &^ (page - 1)
	flags := map[Prot]uint64{Read: 0, Write: unix.ProtWrite, Execute: unix.ProtExec, WriteExecute: unix.ProtWrite | unix.ProtExec}[prot]
	if _, err := p.inject(unix.SysMprotect, start, end-start, unix.ProtRead|flags); err != nil {
		return fmt.Errorf("mprotect %#x+%#x: %w%s", start, end-start, err, advice(err))
	}
	return nil
}

// within tells whether size bytes at addr are RAM that the process has.
func (p *Process) within(addr, size uint64) bool {
	if addr < minAddress {
		return false
	}
	for _, r := range p.cfg.RAM {
		if addr >= r.Start && addr-r.Start <= r.Size && size <= r.Size-(addr-r.Start) {
			return true
		}
	}
	return false
}

// Populated returns the runs of RAM that were written or read by either side,
// sorted, in whole pages; all others are zero.
func (p *Process) Populated() ([]Range, error) {
	var out []Range
	for off := int64(0); off < int64(len(p.mem)); {
		start, end, ok, err := unix.NextData(p.ram, off)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		out = append(out, Range{uint64(start), uint64(end - start)})
		off = end
	}
	return out, nil
}

// Used returns how many bytes of RAM are in use.
func (p *Process) Used() (int64, error) { return unix.AllocatedBytes(p.ram) }

// Within fails with what the process is to be ended for: it has used up its
// time, or more RAM is in use than it may have. What reads RAM on its behalf
// asks, since reading makes pages and no one else stops that.
func (p *Process) Within() error {
	if p.kill != nil {
		if err := p.kill.check(); err != nil {
			return err
		}
	}
	if p.cfg.MaxMemory <= 0 {
		return nil
	}
	n, err := p.Used()
	if err == nil && n > p.cfg.MaxMemory {
		err = fmt.Errorf("%w: %d bytes in use, at most %d", ErrMemory, n, p.cfg.MaxMemory)
	}
	return err
}

// Stop ends the process. RAM stays until Close.
func (p *Process) Stop() {
	if p.t != nil {
		p.t.Kill()
		if p.kill != nil {
			p.kill.end()
		}
		p.t.Reap()
		p.t = nil
	} else if p.kill != nil {
		p.kill.end()
	}
	if !p.closed {
		p.closed = true
		runtime.UnlockOSThread()
	}
}

// Close ends the process and drops its RAM: what Memory returned must not be
// used any more.
func (p *Process) Close() error {
	p.Stop()
	var err error
	if p.mem != nil {
		err = unix.Unmap(p.mem)
		p.mem = nil
	}
	if p.ram != nil {
		err = errors.Join(err, p.ram.Close())
		p.ram = nil
	}
	return err
}
