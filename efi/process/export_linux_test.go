// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package process

// PID returns the process id of the child.
func (p *Process) PID() int { return p.t.PID }

// Base returns the address of the page that is ours.
func (p *Process) Base() uint64 { return p.base }

// StubSyscall is the offset of the system call instruction in that page.
const StubSyscall = stubSyscall

// Inject lets the child do any system call.
func (p *Process) Inject(nr int, args ...uint64) error {
	_, err := p.inject(nr, args...)
	return err
}
