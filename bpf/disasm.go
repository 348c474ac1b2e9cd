// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"sort"

	"github.com/cilium/ebpf/asm"
)

// disassemble names the instruction in slot i. It is called on bytes that the
// load-time check may have refused, so the library's decoder is fenced off.
func disassemble(raw []byte, i int) (text string) {
	if i < 0 || (i+1)*slotBytes > len(raw) {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("% x", raw[i*slotBytes:(i+1)*slotBytes])
		}
	}()
	end := (i + 1) * slotBytes
	if raw[i*slotBytes] == opcodeLdImm64 && end+slotBytes <= len(raw) {
		end += slotBytes
	}
	var in asm.Instruction
	platform := "linux"
	if runtime.GOOS == "windows" {
		platform = "windows"
	}
	if err := in.Unmarshal(bytes.NewReader(raw[i*slotBytes:end]), binary.LittleEndian, platform); err != nil {
		return fmt.Sprintf("% x", raw[i*slotBytes:(i+1)*slotBytes])
	}
	return fmt.Sprintf("%v", in)
}

// functionAt names the function that slot i lies in.
func (p *Program) functionAt(i int) string {
	k := sort.Search(len(p.funcs), func(k int) bool { return p.funcs[k].index > i })
	if k == 0 {
		return ""
	}
	return p.funcs[k-1].name
}

// lineAt returns the source line of slot i.
func (p *Program) lineAt(i int) (file string, line int, source string) {
	k := sort.Search(len(p.lines), func(k int) bool { return p.lines[k].index > i })
	if k == 0 {
		return "", 0, ""
	}
	l := p.lines[k-1]
	// A string that cannot be read is left out: the fault matters more.
	file, _ = p.btf.str(l.file)
	source, _ = p.btf.str(l.source)
	return clip(file), l.line, clip(source)
}

// clip shortens a string of a hostile object for a message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
