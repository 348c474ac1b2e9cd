// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	// r0 = *(u32 *)(r1 + 4); r0 += r2; exit
	const program = "61 10 04 00 00 00 00 00  0f 20 00 00 00 00 00 00  95 00 00 00 00 00 00 00"
	for _, c := range []struct {
		name  string
		args  []string
		stdin string
		want  string
		fails bool
	}{
		{name: "flags", args: []string{"--program", program, "--memory", "0001020304050607"}, want: "706050c\n"},
		{name: "plug-in", args: []string{"00  01  02  03  04  05  06  07  ", ""}, stdin: program + "\n", want: "706050c\n"},
		{name: "out of memory's bounds", args: []string{"00 01 02 03 04 05 06"}, stdin: program, fails: true},
		{name: "no program", fails: true},
		{name: "bad hex", stdin: "9", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := run(c.args, strings.NewReader(c.stdin), &out)
			if (err != nil) != c.fails || out.String() != c.want {
				t.Errorf("run(%q) = %q, %v, want %q", c.args, out.String(), err, c.want)
			}
		})
	}
}
