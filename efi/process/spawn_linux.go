// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package process

import (
	"errors"
	"os"

	"github.com/peelboot/peel/internal/unix"
)

// spawn starts the child from a memfd, or from a file without a name where
// memfds must not be executed.
func (p *Process) spawn() error {
	image := stubELF(p.base)
	exe, err := unix.MemfdExecutable("peel-guest", image)
	if err == nil {
		p.t, err = unix.StartTraced(exe, p.ram)
		exe.Close()
	}
	if err == nil || !errors.Is(err, unix.EACCES) {
		return err
	}
	f, ferr := unnamed(image)
	if ferr != nil {
		return errors.Join(err, ferr)
	}
	defer f.Close()
	if p.t, ferr = unix.StartTraced(f, p.ram); ferr != nil {
		return errors.Join(err, ferr)
	}
	return nil
}

// unnamed returns an executable file, open for reading only, that no
// directory holds.
func unnamed(contents []byte) (*os.File, error) {
	w, err := os.CreateTemp("", "peel-guest-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(w.Name())
	_, err = w.Write(contents)
	err = errors.Join(err, w.Chmod(0o755), w.Close())
	if err != nil {
		return nil, err
	}
	return os.Open(w.Name())
}

// advice says what to look at when a sandbox cannot be made.
func advice(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return " (is tracing forbidden: kernel.yama.ptrace_scope=3, a container's seccomp filter, SELinux's deny_ptrace?)"
	case errors.Is(err, unix.EACCES):
		return " (vm.memfd_noexec=2, a temporary directory mounted noexec, or SELinux forbids to execute what is not a file of the system)"
	case errors.Is(err, unix.ENOSYS):
		return " (a container's seccomp filter?)"
	}
	return ""
}

// stubELF is the program of the child: a page with the instructions that its
// parent lets it do, never run by itself.
func stubELF(base uint64) []byte {
	b := make([]byte, pageSize)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2) // ET_EXEC
	le.PutUint16(b[18:], elfMachine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], base+stubSyscall)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	le.PutUint32(b[64:], 1) // PT_LOAD, R-X
	le.PutUint32(b[68:], 5)
	le.PutUint64(b[80:], base)
	le.PutUint64(b[88:], base)
	le.PutUint64(b[96:], pageSize)
	le.PutUint64(b[104:], pageSize)
	le.PutUint64(b[112:], 1<<16)
	le.PutUint32(b[120:], 0x6474e551) // PT_GNU_STACK, RW-
	le.PutUint32(b[124:], 6)
	copy(b[stubSyscall:], stubCode())
	filter := unix.SeccompOnly(unix.SysMprotect, base+stubSyscall+syscallSize)
	le.PutUint16(b[stubFprog:], uint16(len(filter)/8))
	le.PutUint64(b[stubFprog+8:], base+stubFilter)
	copy(b[stubFilter:], filter)
	return b
}

// Offsets in the page of the child.
const (
	stubSyscall = 0x100 // the instruction of a system call
	stubCPUID   = 0x110 // CPUID on x86
	stubFprog   = 0x200 // struct sock_fprog
	stubFilter  = 0x210
)
