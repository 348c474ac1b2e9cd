// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"io"
	"regexp"
	"sync"
)

// consoleLimit bounds the text that is kept for Expect: a guest that writes without end costs no more memory.
const consoleLimit = 16 << 20

// console gathers the text of a serial line without the control sequences that firmware and boot loaders send.
type console struct {
	copy io.Writer

	mu     sync.Mutex
	text   []byte
	from   int           // where the next Expect begins
	esc    escapeState   // state of the filter
	more   chan struct{} // closed and replaced when text grows
	closed bool
}

// escapeState is how far into a control sequence the filter is (ECMA-48, 5.4).
type escapeState int

const (
	escNone escapeState = iota
	escStart
	escCSI
)

func newConsole(w io.Writer) *console { return &console{copy: w, more: make(chan struct{})} }

// Write takes the raw bytes of the line.
func (c *console) Write(p []byte) (int, error) {
	if c.copy != nil {
		// A broken terminal must not stop the machine.
		_, _ = c.copy.Write(p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range p {
		switch {
		case c.esc == escStart && b == '[':
			c.esc = escCSI
		case c.esc == escStart:
			c.esc = escNone
		case c.esc == escCSI:
			if b >= 0x40 && b <= 0x7e {
				c.esc = escNone
			}
		case b == 0x1b:
			c.esc = escStart
		case b == '\r' || b == 0:
		default:
			c.text = append(c.text, b)
		}
	}
	if over := len(c.text) - consoleLimit; over > 0 {
		c.text = append(c.text[:0], c.text[over:]...)
		c.from = max(c.from-over, 0)
	}
	c.wake()
	return len(p), nil
}

// close says that no more text will come.
func (c *console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.wake()
}

func (c *console) wake() {
	close(c.more)
	c.more = make(chan struct{})
}

// match looks for the pattern in the text not yet consumed. Without a match it returns what to wait on, nil when no more
// text will come.
func (c *console) match(re *regexp.Regexp) (found []string, wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := re.FindSubmatchIndex(c.text[c.from:]); m != nil {
		for i := 0; i < len(m); i += 2 {
			s := ""
			if m[i] >= 0 {
				s = string(c.text[c.from+m[i] : c.from+m[i+1]])
			}
			found = append(found, s)
		}
		c.from += m[1]
		return found, nil
	}
	if c.closed {
		return nil, nil
	}
	return nil, c.more
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

// tail is the end of the text, for messages.
func (c *console) tail() string {
	const n = 2048
	s := c.String()
	if len(s) > n {
		s = "..." + s[len(s)-n:]
	}
	return s
}
