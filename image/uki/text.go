// SPDX-License-Identifier: Apache-2.0

package uki

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// CmdlineText turns the contents of .cmdline into the line that the kernel
// gets: up to the first NUL, control characters turned into spaces, without
// white space at either end. It fails with ErrText when bytes are not UTF-8.
func CmdlineText(data []byte) (string, error) {
	s := untilNUL(data)
	if !utf8.Valid(s) {
		return "", fmt.Errorf("%w: %s is not UTF-8", ErrText, Cmdline)
	}
	line := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, string(s))
	return strings.Trim(line, " "), nil
}

// Text returns the contents of a section of one short text, such as .uname,
// up to the first NUL and without white space at the end.
func Text(data []byte) string { return strings.TrimRight(string(untilNUL(data)), " \t\r\n") }

func untilNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// maxFields bounds the text that Field searches, in bytes.
const maxFields = 64 << 10

// Field returns the value of a key in a text of KEY=value lines, the syntax
// of .osrel and .profile (os-release(5)): quotes around the value are taken
// away and backslashes in double quotes are resolved. The last assignment
// counts.
func Field(data []byte, key string) (value string, ok bool) {
	text := string(untilNUL(data[:min(len(data), maxFields)]))
	for line := range strings.Lines(text) {
		k, v, found := strings.Cut(strings.TrimSpace(line), "=")
		if found && k == key {
			value, ok = unquote(v), true
		}
	}
	return value, ok
}

func unquote(v string) string {
	if len(v) < 2 || v[0] != v[len(v)-1] || v[0] != '"' && v[0] != '\'' {
		return v
	}
	body := v[1 : len(v)-1]
	if v[0] == '\'' {
		return body
	}
	var b strings.Builder
	for i := 0; i < len(body); i++ {
		if body[i] == '\\' && i+1 < len(body) {
			i++
		}
		b.WriteByte(body[i])
	}
	return b.String()
}
