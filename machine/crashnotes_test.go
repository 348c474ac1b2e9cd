// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestCrashNotes(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	const dir = "sys/devices/system/cpu/"
	two := fstest.MapFS{
		dir + "cpu0/crash_notes": file("3ec0a400\n"), dir + "cpu0/crash_notes_size": file("368\n"),
		dir + "cpu1/crash_notes": file("3ec4a400\n"), dir + "cpu1/crash_notes_size": file("368\n"),
		dir + "present": file("0-1\n"),
	}
	got := ReadFS(two).Kexec.CrashNotes
	want := []Range{{0x3ec0a400, 0x3ec0a400 + 367}, {0x3ec4a400, 0x3ec4a400 + 367}}
	if diff := cmp.Diff(want, got.Value); diff != "" || !got.Known() {
		t.Errorf("CrashNotes (-want +got):\n%s, state %s", diff, got.State)
	}
	for name, change := range map[string]func(fstest.MapFS){
		"a processor without notes": func(m fstest.MapFS) { delete(m, dir+"cpu1/crash_notes") },
		"no list":                   func(m fstest.MapFS) { m[dir+"present"] = file("0-x\n") },
		"no number":                 func(m fstest.MapFS) { m[dir+"cpu1/crash_notes"] = file("zz\n") },
		"no size":                   func(m fstest.MapFS) { m[dir+"cpu1/crash_notes_size"] = file("0\n") },
		"wraps":                     func(m fstest.MapFS) { m[dir+"cpu1/crash_notes"] = file("ffffffffffffffff\n") },
	} {
		m := fstest.MapFS{}
		for k, v := range two {
			m[k] = v
		}
		change(m)
		if got := ReadFS(m).Kexec.CrashNotes; got.Known() {
			t.Errorf("%s: CrashNotes = %v, want it unknown", name, got.Value)
		}
	}
}
