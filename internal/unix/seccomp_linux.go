// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package unix

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (uapi/linux/seccomp.h).
const (
	seccompNr   = 0
	seccompArch = 4
	seccompIPLo = 8
	seccompIPHi = 12
)

// SeccompOnly returns a seccomp filter, as an array of struct sock_filter,
// that kills the process at each system call except nr, done by the native
// instruction set from the code whose return address is ip.
func SeccompOnly(nr int, ip uint64) []byte {
	type insn struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}
	const (
		ld  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret = unix.BPF_RET | unix.BPF_K
	)
	prog := []insn{
		{ld, 0, 0, seccompArch}, {jeq, 0, 7, auditArch},
		{ld, 0, 0, seccompNr}, {jeq, 0, 5, uint32(nr)},
		{ld, 0, 0, seccompIPLo}, {jeq, 0, 3, uint32(ip)},
		{ld, 0, 0, seccompIPHi}, {jeq, 0, 1, uint32(ip >> 32)},
		{ret, 0, 0, unix.SECCOMP_RET_ALLOW},
		{ret, 0, 0, unix.SECCOMP_RET_KILL_PROCESS},
	}
	var b []byte
	for _, i := range prog {
		b = binary.LittleEndian.AppendUint16(b, i.code)
		b = append(b, i.jt, i.jf)
		b = binary.LittleEndian.AppendUint32(b, i.k)
	}
	return b
}
