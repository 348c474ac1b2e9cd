// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"slices"
	"unicode"
)

// EFI_UNICODE_COLLATION_PROTOCOL (UEFI, section 21.1) for English: case is
// that of the characters of ISO 8859-1, as firmware has it.

// maxCollation bounds strings here, in characters: matching a pattern takes
// the product of two lengths.
const maxCollation = 4096

// unicodeCollation are the functions; the languages follow.
func unicodeCollation() []string {
	return []string{"Collation.StriColl", "Collation.MetaiMatch", "Collation.StrLwr", "Collation.StrUpr",
		"Collation.FatToStr", "Collation.StrToFat"}
}

// chars reads a string and returns where it lies too.
func (c *call) chars(addr uint64) []uint16 {
	var u []uint16
	for i := uint64(0); i <= maxCollation; i++ {
		b := c.in(addr+2*i, 2)
		if b == nil {
			return nil
		}
		v := le.Uint16(b)
		if v == 0 {
			return u
		}
		u = append(u, v)
	}
	c.bad = errLongString
	return nil
}

func fold(up bool, v uint16) uint16 {
	if v > 0xff {
		return v
	}
	r := unicode.ToLower(rune(v))
	if up {
		r = unicode.ToUpper(rune(v))
	}
	if r > 0xff {
		return v
	}
	return uint16(r)
}

func foldAll(u []uint16) []uint16 {
	out := slices.Clone(u)
	for i, v := range out {
		out[i] = fold(true, v)
	}
	return out
}

// collate returns an INTN: below, at or above 0.
func (f *Firmware) collate(c *call) Status {
	a, b := foldAll(c.chars(c.args[1])), foldAll(c.chars(c.args[2]))
	return Status(int64(slices.Compare(a, b)))
}

// metaMatch returns a BOOLEAN.
func (f *Firmware) metaMatch(c *call) Status {
	s, p := foldAll(c.chars(c.args[1])), foldAll(c.chars(c.args[2]))
	if c.bad == nil && match(s, p) {
		return 1
	}
	return 0
}

// match tells whether a string matches a pattern of '*', '?', and sets such
// as [a-z5]. It steps back only to the last '*', which is enough.
func match(s, p []uint16) bool {
	starP, starS := -1, 0
	i, j := 0, 0
	for i < len(s) {
		if j < len(p) && p[j] == '*' {
			starP, starS = j, i
			j++
			continue
		}
		if j < len(p) {
			if n, ok := one(s[i], p[j:]); ok {
				i++
				j += n
				continue
			}
		}
		if starP < 0 {
			return false
		}
		starS++
		i, j = starS, starP+1
	}
	for j < len(p) && p[j] == '*' {
		j++
	}
	return j == len(p)
}

// one matches a character with the beginning of a pattern, of which it takes
// n characters.
func one(v uint16, p []uint16) (n int, ok bool) {
	switch p[0] {
	case '?':
		return 1, true
	case '[':
		end := slices.Index(p, ']')
		if end < 0 {
			return 0, false
		}
		for set := p[1:end]; len(set) > 0; {
			if len(set) >= 3 && set[1] == '-' {
				ok = ok || v >= set[0] && v <= set[2]
				set = set[3:]
				continue
			}
			ok = ok || v == set[0]
			set = set[1:]
		}
		return end + 1, ok
	}
	return 1, v == p[0]
}

func (f *Firmware) lower(c *call) Status { return f.changeCase(c, false) }
func (f *Firmware) upper(c *call) Status { return f.changeCase(c, true) }

func (f *Firmware) changeCase(c *call, up bool) Status {
	u := c.chars(c.args[1])
	b := c.out(c.args[1], 2*uint64(len(u)))
	if c.bad != nil {
		return 0
	}
	for i, v := range u {
		le.PutUint16(b[2*i:], fold(up, v))
	}
	return 0
}

// fatToStr widens up to size characters of code page 437, of which only ASCII
// is known here.
func (f *Firmware) fatToStr(c *call) Status {
	size, from, to := min(c.args[1], maxCollation), c.args[2], c.args[3]
	var out []byte
	for i := range size {
		b := c.in(from+i, 1)
		if b == nil || b[0] == 0 {
			break
		}
		out = le.AppendUint16(out, uint16(b[0]))
	}
	out = le.AppendUint16(out, 0)
	copy(c.out(to, uint64(len(out))), out)
	return 0
}

// strToFat returns whether characters had to be replaced.
func (f *Firmware) strToFat(c *call) Status {
	u, size, to := c.chars(c.args[1]), min(c.args[2], maxCollation), c.args[3]
	var out []byte
	replaced := Status(0)
	for _, v := range foldAll(u) {
		if uint64(len(out)) == size {
			break
		}
		switch {
		case v == '.' || v == ' ': // the file system has no place for them
			continue
		case v <= 0x20 || v >= 0x7f || slices.Contains([]uint16{'"', '*', '+', ',', '/', ':', ';', '<', '=', '>', '?', '[', '\\', ']', '|'}, v):
			out, replaced = append(out, '_'), 1
			continue
		}
		out = append(out, byte(v))
	}
	if uint64(len(out)) < size {
		out = append(out, 0)
	}
	copy(c.out(to, uint64(len(out))), out)
	return replaced
}
