// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package unix

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of ptrace(2) (uapi/linux/ptrace.h) that have no wrapper.
const (
	ptraceSysemu     = 31
	ptraceGetSiginfo = 0x4202
	ptraceGetRegset  = 0x4204
	ptraceSetRegset  = 0x4205
)

// Register sets of Regset and SetRegset (uapi/linux/elf.h).
const (
	RegsGeneral = 1 // NT_PRSTATUS
	RegsFloat   = 2 // NT_PRFPREG: the FXSAVE area on x86, SIMD registers on arm64
)

// Signals that stop a traced child.
const (
	SIGILL  = int(unix.SIGILL)
	SIGTRAP = int(unix.SIGTRAP)
	SIGBUS  = int(unix.SIGBUS)
	SIGFPE  = int(unix.SIGFPE)
	SIGKILL = int(unix.SIGKILL)
	SIGSEGV = int(unix.SIGSEGV)
	SIGSYS  = int(unix.SIGSYS)
	SIGXCPU = int(unix.SIGXCPU)
)

// System calls that a parent lets a traced child do.
const (
	SysMmap       = unix.SYS_MMAP
	SysMunmap     = unix.SYS_MUNMAP
	SysMprotect   = unix.SYS_MPROTECT
	SysPrctl      = unix.SYS_PRCTL
	SysSeccomp    = unix.SYS_SECCOMP
	SysCloseRange = unix.SYS_CLOSE_RANGE
	SysClose      = unix.SYS_CLOSE

	ProtRead  = unix.PROT_READ
	ProtWrite = unix.PROT_WRITE
	ProtExec  = unix.PROT_EXEC

	MmapShared        = unix.MAP_SHARED
	MapNoReserve      = unix.MAP_NORESERVE
	MapFixedNoReplace = unix.MAP_FIXED_NOREPLACE

	PrSetNoNewPrivs      = unix.PR_SET_NO_NEW_PRIVS
	SeccompSetModeFilter = unix.SECCOMP_SET_MODE_FILTER
)

// nobody is the user and group that a traced child of root becomes.
const nobody = 65534

// Traced is a child process that runs only when told to. The thread that
// started it is the only one that may call its methods, Kill excepted.
type Traced struct {
	PID int
	// Namespaces tells that the child has its own user, PID, network, mount,
	// IPC and UTS namespaces; when not, WhyNot says what the system answered.
	Namespaces bool
	WhyNot     error
}

// StartTraced starts the program in exe, a file of which only the descriptor
// must be reachable, with stdin as its file descriptor 0, no arguments and no
// environment. The child stops at its first instruction; it dies with its
// parent. It gets namespaces of its own where the system allows that, and is
// nobody when the caller is root.
func StartTraced(exe, stdin *os.File) (*Traced, error) {
	root := os.Geteuid() == 0
	attr := func(ns bool) *syscall.SysProcAttr {
		a := &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL, Setsid: true}
		if root {
			a.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		}
		if ns {
			a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
				syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
			if root {
				one := []syscall.SysProcIDMap{{ContainerID: nobody, HostID: nobody, Size: 1}}
				a.UidMappings, a.GidMappings, a.GidMappingsEnableSetgroups = one, one, true
			}
		}
		return a
	}
	start := func(ns bool) (pid int, err error) {
		err = withFD(exe, func(efd int) error {
			return withFD(stdin, func(ifd int) (err error) {
				pid, err = syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", efd), nil,
					&syscall.ProcAttr{Files: []uintptr{uintptr(ifd)}, Env: []string{}, Sys: attr(ns)})
				return err
			})
		})
		return pid, err
	}
	t := &Traced{Namespaces: true}
	var err error
	if t.PID, err = start(true); err != nil {
		t.Namespaces, t.WhyNot = false, os.NewSyscallError("clone with namespaces", err)
		if t.PID, err = start(false); err != nil {
			return nil, os.NewSyscallError("start traced process", err)
		}
	}
	stop, err := t.Wait()
	if err == nil && (stop.Exited || stop.Signal != SIGTRAP) {
		err = fmt.Errorf("traced process: %v instead of a stop after exec", stop)
	}
	if err == nil {
		err = os.NewSyscallError("ptrace(SETOPTIONS)",
			unix.PtraceSetOptions(t.PID, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESYSGOOD))
	}
	if err != nil {
		t.Kill()
		t.Reap()
		return nil, err
	}
	return t, nil
}

// Stop is why a traced child stopped.
type Stop struct {
	// Exited tells that the child is gone, by exit or by Signal.
	Exited bool
	Status int
	// Signal is what stopped it. Syscall tells that it was about to do a
	// system call (Signal is SIGTRAP).
	Signal  int
	Syscall bool
}

func (s Stop) String() string {
	switch {
	case s.Exited && s.Signal != 0:
		return fmt.Sprintf("killed by %v", unix.Signal(s.Signal))
	case s.Exited:
		return fmt.Sprintf("exit status %d", s.Status)
	case s.Syscall:
		return "system call"
	}
	return fmt.Sprintf("stopped by %v", unix.Signal(s.Signal))
}

// Wait waits until the child stops or is gone.
func (t *Traced) Wait() (Stop, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(t.PID, &ws, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Stop{}, os.NewSyscallError("wait4", err)
		}
		break
	}
	switch {
	case ws.Exited():
		return Stop{Exited: true, Status: ws.ExitStatus()}, nil
	case ws.Signaled():
		return Stop{Exited: true, Signal: int(ws.Signal())}, nil
	}
	sig := int(ws.StopSignal())
	if sig == SIGTRAP|0x80 {
		return Stop{Signal: SIGTRAP, Syscall: true}, nil
	}
	return Stop{Signal: sig}, nil
}

// Sysemu lets the child run. Signals that stopped it are dropped. At a system
// call it stops, and the call is not done.
func (t *Traced) Sysemu() error {
	_, err := ptrace(ptraceSysemu, t.PID, 0, nil)
	return err
}

// Step lets the child do one instruction; a system call is one, and is done.
func (t *Traced) Step() error {
	return os.NewSyscallError("ptrace(SINGLESTEP)", unix.PtraceSingleStep(t.PID))
}

// Regset reads a register set into buf and returns how many bytes of it the
// kernel filled. A 32-bit mode of the processor has a smaller set.
func (t *Traced) Regset(set int, buf []byte) (int, error) {
	iov := unix.Iovec{Base: unsafe.SliceData(buf)}
	iov.SetLen(len(buf))
	_, err := ptrace(ptraceGetRegset, t.PID, uintptr(set), unsafe.Pointer(&iov))
	return int(iov.Len), err
}

// SetRegset writes a register set.
func (t *Traced) SetRegset(set int, buf []byte) error {
	iov := unix.Iovec{Base: unsafe.SliceData(buf)}
	iov.SetLen(len(buf))
	_, err := ptrace(ptraceSetRegset, t.PID, uintptr(set), unsafe.Pointer(&iov))
	return err
}

// Registers reads the general registers, in the order of the architecture's
// struct (uapi/asm/ptrace.h), and returns how many bytes the kernel filled. A
// 32-bit mode of the processor has fewer.
func (t *Traced) Registers(r []uint64) (int, error) { return t.Regset(RegsGeneral, wordBytes(r)) }

// SetRegisters writes the general registers.
func (t *Traced) SetRegisters(r []uint64) error { return t.SetRegset(RegsGeneral, wordBytes(r)) }

func wordBytes(r []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r))), len(r)*8)
}

// Siginfo tells of the signal that stopped the child: si_code and, for
// faults, si_addr (sigaction(2)).
func (t *Traced) Siginfo() (code int32, addr uint64, err error) {
	var info [128]byte
	_, err = ptrace(ptraceGetSiginfo, t.PID, 0, unsafe.Pointer(&info))
	return *(*int32)(unsafe.Pointer(&info[8])), *(*uint64)(unsafe.Pointer(&info[16])), err
}

// Limit sets the child's resource limits: no core file, no new processes, no
// locked memory, no message queues, no further files.
func (t *Traced) Limit() error {
	for _, res := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NPROC, unix.RLIMIT_MEMLOCK, unix.RLIMIT_MSGQUEUE, unix.RLIMIT_NOFILE} {
		if err := unix.Prlimit(t.PID, res, &unix.Rlimit{}, nil); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
	}
	return nil
}

// Kill kills the child; any thread may call it until Reap has returned.
func (t *Traced) Kill() { _ = unix.Kill(t.PID, unix.SIGKILL) }

// Reap waits until a killed child is gone.
func (t *Traced) Reap() {
	for {
		if s, err := t.Wait(); err != nil || s.Exited {
			return
		}
	}
}

func ptrace(req, pid int, addr uintptr, data unsafe.Pointer) (uintptr, error) {
	r, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(req), uintptr(pid), addr, uintptr(data), 0, 0)
	if errno != 0 {
		return 0, os.NewSyscallError(fmt.Sprintf("ptrace(%#x)", req), errno)
	}
	return r, nil
}

// MemfdExecutable returns an anonymous file with the given contents that can
// be executed. EACCES means that vm.memfd_noexec forbids it.
func MemfdExecutable(name string, contents []byte) (*os.File, error) {
	const mfdExec = 0x10 // MFD_EXEC, Linux 6.3
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|mfdExec)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(contents); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// SealSize fixes the size of the memfd f; its contents may still change.
func SealSize(f *os.File) error {
	return control(f, "fcntl(F_ADD_SEALS)", func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
		return err
	})
}

// MapSparse maps size bytes of f for reading and writing without reserving
// memory for them.
func MapSparse(f *os.File, size int) ([]byte, error) {
	return mapFile(f, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
}

// NextData returns the next run of bytes of f at or after offset that are not
// a hole (lseek(2), SEEK_DATA). When there is none, ok is false.
func NextData(f *os.File, offset int64) (start, end int64, ok bool, err error) {
	err = control(f, "lseek", func(fd int) error {
		s, err := unix.Seek(fd, offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		e, err := unix.Seek(fd, s, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		start, end, ok = s, e, true
		return nil
	})
	return start, end, ok, err
}
