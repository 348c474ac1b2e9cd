// SPDX-License-Identifier: Apache-2.0

package bpf

import "fmt"

// exec runs c from slot entry in a new frame until that frame ends.
//
// Registers live in an array of 16 so that a 4-bit number needs no bounds
// check. Fuel is counted in a local; settle carries it to m.fuel before
// anything that can look at it. The loop leaves by return or goto only,
// so that arithmetic pays for no test of err. What programs rarely do is in
// functions of its own, to keep this one small for the processor as well.
func (m *Machine) exec(c *code, entry int, args [5]uint64) (uint64, error) {
	var (
		r     [16]uint64
		code  = c.ins
		pc    = entry
		base  = m.depth
		chunk uint64 // instructions granted at the last settling
		left  uint64 // of those, not yet used
		addr  uint64
		err   error
	)
	if err := m.push(0); err != nil {
		return 0, c.fault(pc, err)
	}
	copy(r[1:6], args[:])
	r[10] = m.stack[m.depth-1].addr + stackBytes
run:
	for {
		if left == 0 {
			if err = m.settle(chunk); err != nil {
				goto failed
			}
			chunk = m.grant()
			left = chunk
		}
		left--
		if uint(pc) >= uint(len(code)) {
			err = invalid("control left the program")
			goto failed
		}
		in := &code[pc]
		next := pc + 1
		switch in.op {
		case opAdd64K:
			r[in.dst&15] += uint64(in.imm)
		case opAdd64X:
			r[in.dst&15] += r[in.src&15]
		case opAdd32K:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) + uint32(in.imm))
		case opAdd32X:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) + uint32(r[in.src&15]))
		case opSub64K:
			r[in.dst&15] -= uint64(in.imm)
		case opSub64X:
			r[in.dst&15] -= r[in.src&15]
		case opSub32K:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) - uint32(in.imm))
		case opSub32X:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) - uint32(r[in.src&15]))
		case opMul64K:
			r[in.dst&15] *= uint64(in.imm)
		case opMul64X:
			r[in.dst&15] *= r[in.src&15]
		case opMul32K:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) * uint32(in.imm))
		case opMul32X:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) * uint32(r[in.src&15]))
		case opOr64K:
			r[in.dst&15] |= uint64(in.imm)
		case opOr64X:
			r[in.dst&15] |= r[in.src&15]
		case opOr32K:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) | uint32(in.imm))
		case opOr32X:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) | uint32(r[in.src&15]))
		case opAnd64K:
			r[in.dst&15] &= uint64(in.imm)
		case opAnd64X:
			r[in.dst&15] &= r[in.src&15]
		case opAnd32K:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) & uint32(in.imm))
		case opAnd32X:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) & uint32(r[in.src&15]))
		case opLsh64K:
			r[in.dst&15] <<= uint64(in.imm) & 63
		case opLsh64X:
			r[in.dst&15] <<= r[in.src&15] & 63
		case opLsh32K:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) << (uint32(in.imm) & 31))
		case opLsh32X:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) << (uint32(r[in.src&15]) & 31))
		case opRsh64K:
			r[in.dst&15] >>= uint64(in.imm) & 63
		case opRsh64X:
			r[in.dst&15] >>= r[in.src&15] & 63
		case opRsh32K:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) >> (uint32(in.imm) & 31))
		case opRsh32X:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) >> (uint32(r[in.src&15]) & 31))
		case opXor64K:
			r[in.dst&15] ^= uint64(in.imm)
		case opXor64X:
			r[in.dst&15] ^= r[in.src&15]
		case opXor32K:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) ^ uint32(in.imm))
		case opXor32X:
			r[in.dst&15] = uint64(uint32(r[in.dst&15]) ^ uint32(r[in.src&15]))
		case opMov64K:
			r[in.dst&15] = uint64(in.imm)
		case opMov64X:
			r[in.dst&15] = r[in.src&15]
		case opMov32K:
			r[in.dst&15] = uint64(uint32(in.imm))
		case opMov32X:
			r[in.dst&15] = uint64(uint32(r[in.src&15]))
		case opArsh64K:
			r[in.dst&15] = uint64(int64(r[in.dst&15]) >> (uint64(in.imm) & 63))
		case opArsh64X:
			r[in.dst&15] = uint64(int64(r[in.dst&15]) >> (r[in.src&15] & 63))
		case opArsh32K:
			r[in.dst&15] = uint64(uint32(int32(uint32(r[in.dst&15])) >> (uint32(in.imm) & 31)))
		case opArsh32X:
			r[in.dst&15] = uint64(uint32(int32(uint32(r[in.dst&15])) >> (uint32(r[in.src&15]) & 31)))
		case opJeq64K:
			if r[in.dst&15] == uint64(in.imm) {
				next = int(in.off)
			}
		case opJeq64X:
			if r[in.dst&15] == r[in.src&15] {
				next = int(in.off)
			}
		case opJeq32K:
			if uint32(r[in.dst&15]) == uint32(in.imm) {
				next = int(in.off)
			}
		case opJeq32X:
			if uint32(r[in.dst&15]) == uint32(r[in.src&15]) {
				next = int(in.off)
			}
		case opJgt64K:
			if r[in.dst&15] > uint64(in.imm) {
				next = int(in.off)
			}
		case opJgt64X:
			if r[in.dst&15] > r[in.src&15] {
				next = int(in.off)
			}
		case opJgt32K:
			if uint32(r[in.dst&15]) > uint32(in.imm) {
				next = int(in.off)
			}
		case opJgt32X:
			if uint32(r[in.dst&15]) > uint32(r[in.src&15]) {
				next = int(in.off)
			}
		case opJge64K:
			if r[in.dst&15] >= uint64(in.imm) {
				next = int(in.off)
			}
		case opJge64X:
			if r[in.dst&15] >= r[in.src&15] {
				next = int(in.off)
			}
		case opJge32K:
			if uint32(r[in.dst&15]) >= uint32(in.imm) {
				next = int(in.off)
			}
		case opJge32X:
			if uint32(r[in.dst&15]) >= uint32(r[in.src&15]) {
				next = int(in.off)
			}
		case opJset64K:
			if r[in.dst&15]&uint64(in.imm) != 0 {
				next = int(in.off)
			}
		case opJset64X:
			if r[in.dst&15]&r[in.src&15] != 0 {
				next = int(in.off)
			}
		case opJset32K:
			if uint32(r[in.dst&15])&uint32(in.imm) != 0 {
				next = int(in.off)
			}
		case opJset32X:
			if uint32(r[in.dst&15])&uint32(r[in.src&15]) != 0 {
				next = int(in.off)
			}
		case opJne64K:
			if r[in.dst&15] != uint64(in.imm) {
				next = int(in.off)
			}
		case opJne64X:
			if r[in.dst&15] != r[in.src&15] {
				next = int(in.off)
			}
		case opJne32K:
			if uint32(r[in.dst&15]) != uint32(in.imm) {
				next = int(in.off)
			}
		case opJne32X:
			if uint32(r[in.dst&15]) != uint32(r[in.src&15]) {
				next = int(in.off)
			}
		case opJsgt64K:
			if int64(r[in.dst&15]) > in.imm {
				next = int(in.off)
			}
		case opJsgt64X:
			if int64(r[in.dst&15]) > int64(r[in.src&15]) {
				next = int(in.off)
			}
		case opJsgt32K:
			if int32(uint32(r[in.dst&15])) > int32(in.imm) {
				next = int(in.off)
			}
		case opJsgt32X:
			if int32(uint32(r[in.dst&15])) > int32(uint32(r[in.src&15])) {
				next = int(in.off)
			}
		case opJsge64K:
			if int64(r[in.dst&15]) >= in.imm {
				next = int(in.off)
			}
		case opJsge64X:
			if int64(r[in.dst&15]) >= int64(r[in.src&15]) {
				next = int(in.off)
			}
		case opJsge32K:
			if int32(uint32(r[in.dst&15])) >= int32(in.imm) {
				next = int(in.off)
			}
		case opJsge32X:
			if int32(uint32(r[in.dst&15])) >= int32(uint32(r[in.src&15])) {
				next = int(in.off)
			}
		case opJlt64K:
			if r[in.dst&15] < uint64(in.imm) {
				next = int(in.off)
			}
		case opJlt64X:
			if r[in.dst&15] < r[in.src&15] {
				next = int(in.off)
			}
		case opJlt32K:
			if uint32(r[in.dst&15]) < uint32(in.imm) {
				next = int(in.off)
			}
		case opJlt32X:
			if uint32(r[in.dst&15]) < uint32(r[in.src&15]) {
				next = int(in.off)
			}
		case opJle64K:
			if r[in.dst&15] <= uint64(in.imm) {
				next = int(in.off)
			}
		case opJle64X:
			if r[in.dst&15] <= r[in.src&15] {
				next = int(in.off)
			}
		case opJle32K:
			if uint32(r[in.dst&15]) <= uint32(in.imm) {
				next = int(in.off)
			}
		case opJle32X:
			if uint32(r[in.dst&15]) <= uint32(r[in.src&15]) {
				next = int(in.off)
			}
		case opJslt64K:
			if int64(r[in.dst&15]) < in.imm {
				next = int(in.off)
			}
		case opJslt64X:
			if int64(r[in.dst&15]) < int64(r[in.src&15]) {
				next = int(in.off)
			}
		case opJslt32K:
			if int32(uint32(r[in.dst&15])) < int32(in.imm) {
				next = int(in.off)
			}
		case opJslt32X:
			if int32(uint32(r[in.dst&15])) < int32(uint32(r[in.src&15])) {
				next = int(in.off)
			}
		case opJsle64K:
			if int64(r[in.dst&15]) <= in.imm {
				next = int(in.off)
			}
		case opJsle64X:
			if int64(r[in.dst&15]) <= int64(r[in.src&15]) {
				next = int(in.off)
			}
		case opJsle32K:
			if int32(uint32(r[in.dst&15])) <= int32(in.imm) {
				next = int(in.off)
			}
		case opJsle32X:
			if int32(uint32(r[in.dst&15])) <= int32(uint32(r[in.src&15])) {
				next = int(in.off)
			}
		case opJa:
			next = int(in.off)
		case opMayGoto:
			f := &m.stack[m.depth-1]
			if f.loops == 0 {
				next = int(in.off)
			} else {
				f.loops--
			}
		case opLdImm64:
			r[in.dst&15] = uint64(in.imm)
			next++

		case opLdx8:
			addr = r[in.src&15] + uint64(int64(in.off))
			v, ok := m.space.load8(addr)
			if !ok {
				goto refused
			}
			r[in.dst&15] = v
		case opLdx16:
			addr = r[in.src&15] + uint64(int64(in.off))
			v, ok := m.space.load16(addr)
			if !ok {
				goto refused
			}
			r[in.dst&15] = v
		case opLdx32:
			addr = r[in.src&15] + uint64(int64(in.off))
			v, ok := m.space.load32(addr)
			if !ok {
				goto refused
			}
			r[in.dst&15] = v
		case opLdx64:
			addr = r[in.src&15] + uint64(int64(in.off))
			v, ok := m.space.load64(addr)
			if !ok {
				goto refused
			}
			r[in.dst&15] = v
		case opSt8:
			addr = r[in.dst&15] + uint64(int64(in.off))
			if !m.space.store8(addr, uint8(in.imm)) {
				goto refused
			}
		case opSt16:
			addr = r[in.dst&15] + uint64(int64(in.off))
			if !m.space.store16(addr, uint16(in.imm)) {
				goto refused
			}
		case opSt32:
			addr = r[in.dst&15] + uint64(int64(in.off))
			if !m.space.store32(addr, uint32(in.imm)) {
				goto refused
			}
		case opSt64:
			addr = r[in.dst&15] + uint64(int64(in.off))
			if !m.space.store64(addr, uint64(in.imm)) {
				goto refused
			}
		case opStx8:
			addr = r[in.dst&15] + uint64(int64(in.off))
			if !m.space.store8(addr, uint8(r[in.src&15])) {
				goto refused
			}
		case opStx16:
			addr = r[in.dst&15] + uint64(int64(in.off))
			if !m.space.store16(addr, uint16(r[in.src&15])) {
				goto refused
			}
		case opStx32:
			addr = r[in.dst&15] + uint64(int64(in.off))
			if !m.space.store32(addr, uint32(r[in.src&15])) {
				goto refused
			}
		case opStx64:
			addr = r[in.dst&15] + uint64(int64(in.off))
			if !m.space.store64(addr, r[in.src&15]) {
				goto refused
			}
		case opLdxs8, opLdxs16, opLdxs32:
			if err = m.loadSigned(in, &r); err != nil {
				goto failed
			}
		case opAtomic32, opAtomic64, opLoadAcquire, opStoreRelease:
			if err = m.atomic(in, &r); err != nil {
				goto failed
			}

		case opCall:
			if err = m.push(next); err != nil {
				goto failed
			}
			copy(m.stack[m.depth-1].saved[:], r[6:10])
			r[10] = m.stack[m.depth-1].addr + stackBytes
			next = int(in.off)
		case opHelper:
			if err = m.settle(chunk - left); err != nil {
				goto failed
			}
			if r[0], err = c.calls[in.imm](m, [5]uint64(r[1:6])); err != nil {
				goto failed
			}
			chunk, left = 0, 0
		case opKfunc:
			if err = m.settle(chunk - left); err != nil {
				goto failed
			}
			if r[0], err = m.callKfunc(&c.kfuncs[in.imm], [5]uint64(r[1:6])); err != nil {
				goto failed
			}
			chunk, left = 0, 0
		case opCallx:
			if err = m.settle(chunk - left); err != nil {
				goto failed
			}
			if r[0], err = m.callByNumber(r[in.dst&15], [5]uint64(r[1:6])); err != nil {
				goto failed
			}
			chunk, left = 0, 0
		case opExit:
			f := &m.stack[m.depth-1]
			if m.depth-1 == base {
				// The function that was entered from outside.
				m.pop()
				m.fuel -= chunk - left
				if base == 0 {
					if err = m.checkHeld(); err != nil {
						goto failed
					}
				}
				return r[0], nil
			}
			copy(r[6:10], f.saved[:])
			next = f.ret
			m.pop()
			r[10] = m.stack[m.depth-1].addr + stackBytes
		case opPoison:
			err = ErrPoisoned
			if in.imm != 0 {
				err = fmt.Errorf("%s: %w", c.kfuncs[in.imm-1].name, ErrNoKfunc)
			}
			goto failed
		default:
			if !uncommon(in, &r) {
				err = invalid("not an instruction")
				goto failed
			}
		}
		pc = next
	}
refused:
	if m.space.extend(addr, accessBytes(code[pc].op)) {
		goto run // the same instruction again
	}
	err = m.space.refuse(addr, accessBytes(code[pc].op), accessPerm(code[pc].op))
failed:
	for m.depth > base {
		m.pop()
	}
	return 0, c.fault(pc, err)
}
