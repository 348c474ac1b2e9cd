// SPDX-License-Identifier: Apache-2.0

package bpf

// checkFlow refuses code whose control flow could only fail: jumps outside
// their function or into the middle of LD_IMM64, functions whose end can be
// run past, and functions from which no EXIT can be reached.
//
// On error, the int is the slot at fault.
func checkFlow(code []ins) (int, error) {
	n := len(code)
	if n == 0 {
		return 0, invalid("no instructions")
	}
	start := make([]bool, n+1) // a function begins here
	second := make([]bool, n)  // second half of LD_IMM64
	start[0], start[n] = true, true
	for i := range code {
		if code[i].op == opLdImm64 {
			second[i+1] = true
		}
	}
	for i := range code {
		var t int
		switch {
		case code[i].op == opCall:
			t = int(code[i].off)
		case code[i].op == opLdImm64 && code[i].src == pseudoFunc:
			t = i + 1 + int(int32(code[i].imm))
		default:
			continue
		}
		if t < 0 || t >= n || second[t] {
			return i, invalid("call of instruction %d, which is none", t)
		}
		start[t] = true
	}
	reach := make([]bool, n)
	for first := 0; first < n; {
		last := first + 1
		for !start[last] {
			last++
		}
		if i, err := checkFunction(code, first, last, second, reach); err != nil {
			return i, err
		}
		first = last
	}
	return 0, nil
}

// checkFunction checks the function in slots [first, last). reach is scratch.
func checkFunction(code []ins, first, last int, second, reach []bool) (int, error) {
	for i := first; i < last; i++ {
		if t, ok := jumpTarget(code[i]); ok && (t < first || t >= last || second[t]) {
			return i, invalid("jump to instruction %d, outside its function or inside LD_IMM64", t)
		}
	}
	end := last - 1
	if code[end].op != opExit && code[end].op != opJa {
		return end, invalid("control can run past the last instruction")
	}
	work := make([]int, 1, 16)
	work[0] = first
	exit := false
	for len(work) > 0 {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		for !reach[i] {
			reach[i] = true
			if code[i].op == opExit {
				exit = true
				break
			}
			if t, ok := jumpTarget(code[i]); ok {
				if code[i].op == opJa {
					i = t
					continue
				}
				if !reach[t] {
					work = append(work, t)
				}
			}
			i++
			if second[i] {
				i++
			}
		}
	}
	if !exit {
		return first, invalid("no EXIT can be reached")
	}
	return 0, nil
}

func jumpTarget(in ins) (int, bool) {
	if in.op >= opJeq64K && in.op <= opMayGoto {
		return int(in.off), true
	}
	return 0, false
}
