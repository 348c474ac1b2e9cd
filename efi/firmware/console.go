// SPDX-License-Identifier: Apache-2.0

package firmware

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
