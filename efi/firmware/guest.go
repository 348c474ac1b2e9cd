// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf16"
)

var le = binary.LittleEndian

var errLongString = errors.New("string is too long")

// Limits of what a guest may give or have.
const (
	maxString    = 1 << 15 // characters of a string
	maxHandles   = 1024
	maxProtocols = 64 // of a handle
	maxImages    = 16
	maxPools     = 1 << 16
	maxRegions   = 4096 // of the memory map
	maxConsole   = 1 << 20
	maxVariable  = 64 << 10
	maxVariables = 1 << 20 // bytes of all
	maxTables    = 64
	maxPath      = 4096 // bytes of a device path
	maxOpen      = 256  // files
	maxEvents    = 256
	maxDepth     = 8 // images that started each other
	// maxImageFiles bounds image files that the guest has loaded, in bytes of
	// all, those that it has unloaded among them.
	maxImageFiles = 2 << 30
	// maxOpenData bounds contents of files that are open, in bytes of all.
	maxOpenData = 2 << 30
)

// Platform runs the guest. All its memory is there by physical address.
type Platform interface {
	// Memory returns guest memory; what is not in RAM() is not to be used.
	Memory() []byte
	// Code makes whole pages of RAM executable, or data again; code can also
	// be written when write is true.
	Code(start, size uint64, execute, write bool) error
	CPU() CPU
	// Within fails when the guest has used up its time or its memory.
	Within() error
}

// CPU is the processor of a guest that has stopped at the first instruction
// of a function, which is a breakpoint followed by a return.
type CPU interface {
	SP() uint64
	// Arg returns argument n, from 0.
	Arg(n int) (uint64, error)
	Return(v uint64)
	// Result is what the guest's function returned.
	Result() uint64
	// Enter calls a function of the guest with up to eight arguments, on a
	// stack that ends at top; it returns to ret.
	Enter(entry, top, ret uint64, args ...uint64) error
	Save() (state any, err error)
	Restore(state any) error
}

// call is a service call of the guest. Its accessors check addresses; after
// the first bad one they do nothing, and the call ends with
// EFI_INVALID_PARAMETER.
type call struct {
	f    *Firmware
	args []uint64
	note string // for the trace: what came of it
	bad  error
	// later is set when the guest goes on elsewhere before the call returns.
	later bool
}

func (c *call) notef(format string, args ...any) {
	if c.f.trace != nil {
		c.note = fmt.Sprintf(format, args...)
	}
}

// in returns a view of guest memory to read from.
func (c *call) in(addr, size uint64) []byte {
	if c.bad != nil {
		return nil
	}
	b, err := c.f.view(addr, size)
	c.bad = err
	return b
}

// out returns a view of guest memory to write to.
func (c *call) out(addr, size uint64) []byte {
	b := c.in(addr, size)
	if c.bad == nil && c.f.overlapsCode(addr, size) {
		c.bad = fmt.Errorf("output to the firmware's code at %#x+%#x", addr, size)
		return nil
	}
	return b
}

func (c *call) u64(addr uint64) uint64 {
	if b := c.in(addr, 8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (c *call) put64(addr, v uint64) {
	if b := c.out(addr, 8); b != nil {
		le.PutUint64(b, v)
	}
}

func (c *call) put32(addr uint64, v uint32) {
	if b := c.out(addr, 4); b != nil {
		le.PutUint32(b, v)
	}
}

func (c *call) guid(addr uint64) (g GUID) {
	copy(g[:], c.in(addr, 16))
	return g
}

// text returns the string of 16-bit characters at addr.
func (c *call) text(addr uint64) string {
	s, err := c.f.text(addr, maxString)
	if c.bad == nil {
		c.bad = err
	}
	return s
}

func (f *Firmware) text(addr uint64, limit int) (string, error) {
	var u []uint16
	for i := 0; ; i++ {
		b, err := f.view(addr+2*uint64(i), 2)
		if err != nil {
			return "", err
		}
		v := le.Uint16(b)
		if v == 0 {
			return string(utf16.Decode(u)), nil
		}
		if i == limit {
			return "", fmt.Errorf("string at %#x is longer than %d characters", addr, limit)
		}
		u = append(u, v)
	}
}

// utf16z returns a string as EFI writes it, with its NUL.
func utf16z(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(strings.ToValidUTF8(s, "\ufffd"))) {
		b = le.AppendUint16(b, u)
	}
	return append(b, 0, 0)
}

// view returns guest memory when all of it is RAM.
func (f *Firmware) view(addr, size uint64) ([]byte, error) {
	for _, r := range f.ram {
		if addr >= r.Start && addr-r.Start <= r.Size && size <= r.Size-(addr-r.Start) {
			return f.mem[addr : addr+size : addr+size], nil
		}
	}
	return nil, fmt.Errorf("%#x+%#x is not RAM", addr, size)
}

// touch makes the pages of guest memory that are about to be read or written as
// a whole, a part at a time: the guest may name memory that it never used, and
// more of it than it may have.
func (f *Firmware) touch(b []byte) error {
	const step = 16 << 20
	var sum byte
	for len(b) > 0 {
		n := min(len(b), step)
		for i := 0; i < n; i += pageSize {
			sum |= b[i]
		}
		sum |= b[n-1] // of the last page, when b begins inside of one
		if err := f.p.Within(); err != nil {
			return fmt.Errorf("%w: %w", ErrPlatform, err)
		}
		b = b[n:]
	}
	runtime.KeepAlive(sum) // else nothing would be read
	return nil
}

func (f *Firmware) overlapsCode(addr, size uint64) bool {
	return size != 0 && addr < f.slots+slotPages*pageSize && f.slots < addr+size
}
