// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	want := []Message{
		{Boot: &Boot{Name: "first", Cmdline: `a="b  c" ä`, MemTotalKB: 5}},
		{Result: &Result{Step: "s", Status: 3, Stdout: "two\nlines\n", Stderr: "<&>\x1b[1m"}},
		{Done: "first"},
		{Error: "no"},
	}
	console := "firmware noise\n"
	for i, m := range want {
		console += []string{"", "[    1.0] noise "}[i%2] + m.Format() + "\nmore noise\n"
	}
	console += Marker + "{torn\n" + Marker + `{"done":"cut`
	if diff := cmp.Diff(want, Parse(console)); diff != "" {
		t.Errorf("Parse(console) (-want +got):\n%s", diff)
	}
}
