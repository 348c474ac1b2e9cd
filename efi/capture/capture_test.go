// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	s := &State{Runs: []Run{
		{Phys: 0x1000, Type: "LoaderData", Data: []byte("0123456789"), Size: 10},
		{Phys: ^uint64(0) - 9, Type: "LoaderData", Data: []byte("abcdefghij"), Size: 10},
	}, Stats: Stats{Calls: map[string]int{"a": 2, "b": 3}}}
	for _, tt := range []struct {
		addr, size uint64
		want       string
		ok         bool
	}{
		{0x1000, 10, "0123456789", true},
		{0x1003, 2, "34", true},
		{0x100a, 0, "", true},
		{0x1001, 10, "", false},
		{0xfff, 2, "", false},
		{0x1001, ^uint64(0), "", false},
		{^uint64(0), 1, "j", true},
		{^uint64(0), 2, "", false},
	} {
		got := s.Read(tt.addr, tt.size)
		if string(got) != tt.want || (got != nil) != tt.ok {
			t.Errorf("Read(%#x, %#x) = %q, want %q", tt.addr, tt.size, got, tt.want)
		}
	}
	if s.Stats.Total() != 5 || !strings.Contains(s.String(), "5 service calls") {
		t.Errorf("Total() = %d, String() = %q", s.Stats.Total(), s)
	}
}
