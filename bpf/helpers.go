// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Error numbers of include/uapi/asm-generic/errno-base.h that helpers return.
const (
	enoent = 2
	e2big  = 7
	ebadf  = 9
	eagain = 11
	eacces = 13
	efault = 14
	eexist = 17
	einval = 22
)

// errno is what a helper returns for an error number.
func errno(n int64) uint64 { return uint64(-n) }

// Helper numbers of include/uapi/linux/bpf.h (___BPF_FUNC_MAPPER).
const (
	helperMapLookup          = 1
	helperMapUpdate          = 2
	helperMapDelete          = 3
	helperProbeRead          = 4
	helperKtime              = 5
	helperTracePrintk        = 6
	helperProbeReadStr       = 45
	helperProbeReadUser      = 112
	helperProbeReadKernel    = 113
	helperProbeReadUserStr   = 114
	helperProbeReadKernelStr = 115
	helperKtimeBoot          = 125
	helperRingbufOutput      = 130
	helperRingbufReserve     = 131
	helperRingbufSubmit      = 132
	helperRingbufDiscard     = 133
	helperRingbufQuery       = 134
	helperCopyFromUser       = 148
	helperTraceVprintk       = 177
	helperLoop               = 181
	helperStrncmp            = 182
)

// ownHelper returns a helper that the machine supplies itself.
func ownHelper(n int64) Func {
	switch n {
	case helperMapLookup:
		return mapLookup
	case helperMapUpdate:
		return mapUpdate
	case helperMapDelete:
		return mapDelete
	case helperProbeRead, helperProbeReadUser, helperProbeReadKernel, helperCopyFromUser:
		return probeRead
	case helperProbeReadStr, helperProbeReadUserStr, helperProbeReadKernelStr:
		return probeReadStr
	case helperKtime, helperKtimeBoot:
		return ktime
	case helperTracePrintk:
		return tracePrintk
	case helperTraceVprintk:
		return traceVprintk
	case helperRingbufOutput:
		return ringOutput
	case helperRingbufReserve:
		return ringReserve
	case helperRingbufSubmit:
		return ringSubmit
	case helperRingbufDiscard:
		return ringDiscard
	case helperRingbufQuery:
		return ringQuery
	case helperStrncmp:
		return strncmp
	}
	return nil
}

// helper finds a helper by number; nil if there is none.
func (m *Machine) helper(n int64) Func {
	if m.host != nil && n == int64(int32(n)) {
		if f := m.host.Helpers[int32(n)]; f != nil {
			return f
		}
	}
	return ownHelper(n)
}

// callByNumber is a helper call through a register.
func (m *Machine) callByNumber(n uint64, args [5]uint64) (uint64, error) {
	f := m.helper(int64(n))
	if f == nil {
		return 0, fmt.Errorf("helper %d: %w", int64(n), ErrNoHelper)
	}
	return f(m, args)
}

// callKfunc calls a kernel function and keeps its references.
func (m *Machine) callKfunc(k *linkedKfunc, args [5]uint64) (uint64, error) {
	if k.Held > 0 && m.refs[args[k.Held-1]] == 0 {
		return 0, fmt.Errorf("%s: argument %d is not a held reference: %w", k.name, k.Held, ErrReference)
	}
	if k.Release > 0 {
		if err := m.release(args[k.Release-1]); err != nil {
			return 0, fmt.Errorf("%s: %w", k.name, err)
		}
	}
	v, err := k.Func(m, args)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", k.name, err)
	}
	if k.Acquire && v != 0 {
		m.acquire(v)
	}
	return v, nil
}

// checkHeld refuses a program that ends with references.
func (m *Machine) checkHeld() error {
	if len(m.refs) == 0 {
		return nil
	}
	var names []string
	for v := range m.refs {
		names = append(names, m.Describe(v))
	}
	return fmt.Errorf("%d not released at exit, such as %s: %w", m.Held(), names[0], ErrReference)
}

// chargeBytes charges for touching n bytes.
func (m *Machine) chargeBytes(n uint64) error { return m.Charge(n / 256) }

// probeRead is bpf_probe_read(dst, size, src) and its kin: a source that
// cannot be read gives zeros and -EFAULT. A destination that cannot be written
// is a fault, as the kernel's verifier would have refused it.
func probeRead(m *Machine, a [5]uint64) (uint64, error) {
	n := uint64(uint32(a[1]))
	if n == 0 {
		return 0, nil
	}
	dst, err := m.Mutable(a[0], n)
	if err != nil {
		return 0, err
	}
	if err := m.chargeBytes(n); err != nil {
		return 0, err
	}
	src, err := m.View(a[2], n)
	if err != nil {
		clear(dst)
		return errno(efault), nil
	}
	copy(dst, src)
	return 0, nil
}

// probeReadStr is bpf_probe_read_kernel_str(dst, size, src): at most size
// bytes, always NUL terminated; returns the length with the NUL.
func probeReadStr(m *Machine, a [5]uint64) (uint64, error) {
	n := uint64(uint32(a[1]))
	if n == 0 {
		return 0, nil
	}
	dst, err := m.Mutable(a[0], n)
	if err != nil {
		return 0, err
	}
	if err := m.chargeBytes(n); err != nil {
		return 0, err
	}
	src := m.tail(a[2], n)
	room := n - 1
	if uint64(len(src)) > room {
		src = src[:room]
	} else if bytes.IndexByte(src, 0) < 0 {
		// The string runs off its region.
		clear(dst)
		return errno(efault), nil
	}
	if i := bytes.IndexByte(src, 0); i >= 0 {
		src = src[:i]
	}
	k := copy(dst, src)
	dst[k] = 0
	return uint64(k) + 1, nil
}

// ktime is a clock that gives the same answers in every run: one nanosecond
// for each instruction of the budget that is used.
func ktime(m *Machine, _ [5]uint64) (uint64, error) {
	return m.opts.Budget.Instructions - m.fuel, nil
}

// strncmp is bpf_strncmp(s1, s1_size, s2).
func strncmp(m *Machine, a [5]uint64) (uint64, error) {
	n := uint64(uint32(a[1]))
	s1, err := m.View(a[0], n)
	if err != nil {
		return 0, err
	}
	s2, err := m.CString(a[2], n+1)
	if err != nil && !errors.Is(err, ErrArgument) {
		return 0, err
	}
	if err != nil {
		// Longer than n: only the first n bytes matter.
		b, err := m.View(a[2], n)
		if err != nil {
			return 0, err
		}
		s2 = string(b)
	}
	if err := m.chargeBytes(n); err != nil {
		return 0, err
	}
	if i := bytes.IndexByte(s1, 0); i >= 0 {
		s1 = s1[:i]
	}
	if uint64(len(s2)) > n {
		s2 = s2[:n]
	}
	return uint64(int64(strings.Compare(string(s1), s2))), nil
}
