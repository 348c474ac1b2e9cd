// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// ErrReset means that the guest asked for a reset of the machine.
var ErrReset = errors.New("the image asked for a reset")

func isPlatform(err error) bool { return errors.Is(err, ErrPlatform) }

// Miscellaneous boot services (UEFI, section 7.5).

// ErrHalted means that the guest waits for longer than anybody would.
var ErrHalted = errors.New("the image has halted itself")

// maxStall is what a guest may wait in all, in microseconds: some seconds
// after each error message are usual, waiting for ever is how programs halt.
const maxStall = 120e6

// stall takes no time.
func (f *Firmware) stall(c *call) Status {
	if f.stalled += min(c.args[0], maxStall+1); f.stalled > maxStall {
		f.fatal = fmt.Errorf("%w: it stalled for more than %d s", ErrHalted, uint64(maxStall/1e6))
	}
	return Success
}

func (f *Firmware) calculateCRC32(c *call) Status {
	if c.args[1] == 0 {
		return InvalidParameter
	}
	if b := c.in(c.args[0], c.args[1]); b != nil {
		c.put32(c.args[2], crc32.ChecksumIEEE(b))
	}
	return Success
}

func (f *Firmware) nextMonotonic(c *call) Status {
	f.monotonic++
	c.put64(c.args[0], f.monotonic)
	return Success
}

// getTime answers with the time of the host in UTC (UEFI, section 8.3).
func (f *Firmware) getTime(c *call) Status {
	if b := c.out(c.args[0], 16); b != nil {
		encodeTime(b, time.Now().UTC())
	}
	if c.args[1] != 0 {
		if b := c.out(c.args[1], 12); b != nil {
			clear(b)
			le.PutUint32(b, 1) // resolution in Hz
		}
	}
	return Success
}

// encodeTime writes an EFI_TIME.
func encodeTime(b []byte, t time.Time) {
	clear(b[:16])
	le.PutUint16(b, uint16(t.Year()))
	b[2], b[3], b[4], b[5], b[6] = byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second())
	le.PutUint32(b[8:], uint32(t.Nanosecond()))
}

// Simple text output (UEFI, section 12.4).

func (f *Firmware) outputString(c *call) Status {
	s := c.text(c.args[1])
	if c.bad != nil {
		return InvalidParameter
	}
	if room := maxConsole - len(f.console); len(s) <= room {
		f.console = append(f.console, s...)
		if f.cfg.Console != nil {
			f.cfg.Console(s)
		}
	}
	return Success
}

func (f *Firmware) queryMode(c *call) Status {
	if c.args[1] != 0 {
		return Unsupported
	}
	c.put64(c.args[2], 80)
	c.put64(c.args[3], 25)
	return Success
}

func (f *Firmware) setMode(c *call) Status {
	if c.args[1] != 0 {
		return Unsupported
	}
	return Success
}

// Random numbers (UEFI, section 37.5).

func (f *Firmware) rngInfo(c *call) Status {
	have := c.u64(c.args[1])
	c.put64(c.args[1], 16)
	if have < 16 {
		return BufferTooSmall
	}
	g := guidRNGRaw()
	copy(c.out(c.args[2], 16), g[:])
	return Success
}

func (f *Firmware) rngGet(c *call) Status {
	if c.args[1] != 0 && c.guid(c.args[1]) != guidRNGRaw() {
		return Unsupported
	}
	if c.args[2] == 0 || c.args[2] > 1<<20 {
		return InvalidParameter
	}
	b := c.out(c.args[3], c.args[2])
	if c.bad != nil {
		return InvalidParameter
	}
	if f.cfg.Random == nil {
		return Unsupported
	}
	if _, err := io.ReadFull(f.cfg.Random, b); err != nil {
		clear(b)
		return DeviceError
	}
	return Success
}

// Load file 2 (UEFI, section 13.2), at the device path by which Linux finds
// its initrd (Documentation/admin-guide/efi-stub.rst).

func (f *Firmware) loadFile(c *call) Status {
	pathAt, policy, sizeAt, at := c.args[1], c.args[2], c.args[3], c.args[4]
	if policy&0xff != 0 {
		return Unsupported
	}
	if pathAt == 0 || sizeAt == 0 {
		return InvalidParameter
	}
	have := c.u64(sizeAt)
	c.put64(sizeAt, f.initrd)
	// Without a buffer the size means nothing: stubs leave it unset.
	if at == 0 || have < f.initrd {
		return BufferTooSmall
	}
	b := c.out(at, f.initrd)
	if c.bad != nil {
		return InvalidParameter
	}
	n := 0
	for _, i := range f.cfg.Initrds {
		end := (n + 3) &^ 3
		clear(b[n:end])
		n = end + copy(b[end:], i)
	}
	c.notef("%d bytes", n)
	return Success
}

// EFI_MEMORY_ATTRIBUTE_PROTOCOL (UEFI, section 37.7). Attributes are kept and told again. What is executable is decided
// by who allocated it: pages of code, when something first runs there.

const attributeMask = 0x2000 | 0x4000 | 0x20000 // RP, XP, RO

func (f *Firmware) attributeRange(c *call) bool {
	base, size := c.args[1], c.args[2]
	if base%pageSize != 0 || size%pageSize != 0 || size == 0 || size > 1<<32 {
		return false
	}
	_, err := f.view(base, size)
	return err == nil
}

func (f *Firmware) getAttributes(c *call) Status {
	if !f.attributeRange(c) {
		return InvalidParameter
	}
	first := f.attributes[c.args[1]]
	for a := c.args[1]; a < c.args[1]+c.args[2]; a += pageSize {
		if f.attributes[a] != first {
			return NoMapping
		}
	}
	c.put64(c.args[3], first)
	return Success
}

func (f *Firmware) setAttributes(c *call) Status   { return f.changeAttributes(c, true) }
func (f *Firmware) clearAttributes(c *call) Status { return f.changeAttributes(c, false) }

func (f *Firmware) changeAttributes(c *call, on bool) Status {
	bits := c.args[3]
	if !f.attributeRange(c) || bits == 0 || bits&^uint64(attributeMask) != 0 {
		return InvalidParameter
	}
	for a := c.args[1]; a < c.args[1]+c.args[2]; a += pageSize {
		if on {
			f.attributes[a] |= bits
		} else if f.attributes[a] &^= bits; f.attributes[a] == 0 {
			delete(f.attributes, a)
		}
	}
	return Success
}

// RunnableCode makes the pages executable that were allocated for code
// together with the one at pc: loaders allocate such memory for programs that
// they load themselves. It happens when one first runs there, and not after
// ExitBootServices: what first runs then is the kernel.
func (f *Firmware) RunnableCode(pc uint64) (bool, error) {
	if f.exited {
		return false, nil
	}
	for _, r := range f.allocations {
		if pc < r.Start || pc >= r.End() {
			continue
		}
		for _, c := range f.code {
			if pc >= c.Start && pc < c.End() {
				return false, nil
			}
		}
		if err := f.p.Code(r.Start, r.Size, true, true); err != nil {
			return false, fmt.Errorf("%w: %w", ErrPlatform, err)
		}
		f.code = append(f.code, r)
		return true, nil
	}
	return false, nil
}
