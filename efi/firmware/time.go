// SPDX-License-Identifier: Apache-2.0

package firmware

import "time"

// Time services (UEFI, section 8.3).

// getTime answers with the time of the host in UTC.
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
