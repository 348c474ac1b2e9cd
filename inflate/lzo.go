// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"encoding/binary"
	"errors"
)

// What can be wrong with an LZO1X block.
var (
	errLZOInput  = errors.New("the block ends inside an instruction")
	errLZOOutput = errors.New("more output than the block declares")
	errLZOMatch  = errors.New("a match reaches before the block")
	errLZOEnd    = errors.New("no end marker where the block ends")
)

// Ranges of the first byte of an LZO1X instruction (Documentation/staging/lzo
// of the Linux kernel describes the stream).
const (
	lzoM2 = 64 // 3..8 bytes from up to 2 KiB back
	lzoM3 = 32 // any length from up to 16 KiB back
	lzoM4 = 16 // any length from 16 to 48 KiB back, or the end

	lzoM2Span = 2 << 10
	lzoM3Span = 16 << 10
)

// lzo1x decodes one LZO1X block, which must fill dst exactly or less; it
// returns how much.
//
// state is the number of literals that the last instruction carried along, 4
// after a run of literals: small first bytes mean different things after each.
func lzo1x(dst, src []byte) (int, error) {
	var (
		ip, op int
		state  int
		run    int // literals to copy
	)
	if len(src) == 0 {
		return 0, errLZOInput
	}
	if t := int(src[0]); t > 17 {
		ip = 1
		run = t - 17
		state = min(run, 4)
		goto literals
	}

next:
	if uint(ip) >= uint(len(src)) {
		return op, errLZOInput
	}
	{
		t := int(src[ip])
		ip++
		var dist, n int
		switch {
		case t >= lzoM2:
			if uint(ip) >= uint(len(src)) {
				return op, errLZOInput
			}
			dist = 1 + t>>2&7 + int(src[ip])<<3
			ip++
			n = t>>5 + 1
			state = t & 3
		case t >= lzoM3:
			n = t & 31
			if n == 0 {
				var ok bool
				if n, ip, ok = lzoLength(src, ip, 31); !ok {
					return op, errLZOInput
				}
			}
			n += 2
			if len(src)-ip < 2 {
				return op, errLZOInput
			}
			v := int(binary.LittleEndian.Uint16(src[ip:]))
			ip += 2
			dist = 1 + v>>2
			state = v & 3
		case t >= lzoM4:
			n = t & 7
			if n == 0 {
				var ok bool
				if n, ip, ok = lzoLength(src, ip, 7); !ok {
					return op, errLZOInput
				}
			}
			n += 2
			if len(src)-ip < 2 {
				return op, errLZOInput
			}
			v := int(binary.LittleEndian.Uint16(src[ip:]))
			ip += 2
			dist = t&8<<11 + v>>2
			if dist == 0 {
				if n != 3 || ip != len(src) {
					return op, errLZOEnd
				}
				return op, nil
			}
			dist += lzoM3Span
			state = v & 3
		case state == 0:
			run = t
			if run == 0 {
				var ok bool
				if run, ip, ok = lzoLength(src, ip, 15); !ok {
					return op, errLZOInput
				}
			}
			run += 3
			state = 4
			goto literals
		default:
			if uint(ip) >= uint(len(src)) {
				return op, errLZOInput
			}
			dist = 1 + t>>2 + int(src[ip])<<2
			ip++
			n = 2
			if state == 4 {
				dist += lzoM2Span
				n = 3
			}
			state = t & 3
		}

		if dist > op {
			return op, errLZOMatch
		}
		if n > len(dst)-op {
			return op, errLZOOutput
		}
		if dist >= 8 && len(dst)-op >= n+16 {
			// Words of eight never overlap their own source here. They may
			// overrun the match, not dst.
			from, to := dst[op-dist:], dst[op:]
			binary.LittleEndian.PutUint64(to, binary.LittleEndian.Uint64(from))
			for k := 8; k < n; k += 8 {
				binary.LittleEndian.PutUint64(to[k:], binary.LittleEndian.Uint64(from[k:]))
			}
		} else {
			copyMatch(dst, op, dist, n)
		}
		op += n
	}
	run = state
	if len(src)-ip >= 4 && len(dst)-op >= 4 {
		binary.LittleEndian.PutUint32(dst[op:], binary.LittleEndian.Uint32(src[ip:]))
		ip += run
		op += run
		goto next
	}

literals:
	if run > len(src)-ip {
		return op, errLZOInput
	}
	if run > len(dst)-op {
		return op, errLZOOutput
	}
	copy(dst[op:op+run], src[ip:ip+run])
	ip += run
	op += run
	goto next
}

// lzoLength reads the rest of a length that its instruction had no room for:
// zero bytes count 255 each, then one byte and base are added.
func lzoLength(src []byte, ip, base int) (n, next int, ok bool) {
	n = base
	for ip < len(src) && src[ip] == 0 {
		n += 255
		ip++
	}
	if ip >= len(src) {
		return 0, ip, false
	}
	return n + int(src[ip]), ip + 1, true
}
