// SPDX-License-Identifier: Apache-2.0

package efi_test

import (
	"errors"
	"testing"

	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/efi/capture"
)

// store takes all variables but one.
type store map[string]string

var errNotThis = errors.New("not this one")

func (s store) Set(name, guid string, attributes uint32, data []byte) error {
	if name == "refused" {
		return errNotThis
	}
	s[name+"-"+guid] = string(data)
	return nil
}

func TestMirror(t *testing.T) {
	s := store{}
	got := efi.Mirror([]capture.Variable{{Name: "a", GUID: "g", Data: []byte("1")}, {Name: "refused", GUID: "g"}, {Name: "b", GUID: "g", Data: []byte("2")}}, s)
	if len(s) != 2 || s["a-g"] != "1" || s["b-g"] != "2" {
		t.Errorf("the store holds %v", s)
	}
	for i, want := range []error{nil, errNotThis, nil} {
		if !errors.Is(got[i].Err, want) {
			t.Errorf("Mirror()[%d].Err = %v, want %v", i, got[i].Err, want)
		}
	}
}
