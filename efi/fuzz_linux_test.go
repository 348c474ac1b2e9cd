// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package efi_test

import (
	"context"
	"testing"
	"time"

	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/machine/machinetest"
)

// FuzzGuest lets random machine code run as an image: whatever it does, Run
// comes back with an error or a state that was checked, in bounded time.
func FuzzGuest(f *testing.F) {
	call := func(off uint32) []byte {
		return cat(begin(), argAt(0, 0), argAt(1, 0x40), argAt(2, 0x80), argAt(3, 0xc0), bootCall(off))
	}
	for off := uint32(0x18); off <= 0x170; off += 8 {
		f.Add(cat(call(off), epilogue()))
	}
	f.Add(at(cat(begin(), arg(0, 0x201), arg(1, 8), argAt(2, -0x200), argAt(3, 0x18), argAt(4, 0x20), bootCall(createEvent), epilogue()), increment()))
	f.Add([]byte{0x0f, 0x05, 0xcc, 0xfa})
	m := machinetest.Machine(f, recorded)
	f.Fuzz(func(t *testing.T, code []byte) {
		code = code[:min(len(code), 0x1000)]
		st, err := efi.Run(context.Background(), program(code), efi.Options{Machine: m, Verify: verified, LoadOptions: "x", Initrds: [][]byte{{1}},
			Limits: efi.Limits{Time: 50 * time.Millisecond, Memory: 64 << 20}})
		if err != nil {
			return
		}
		defer st.Close()
		if st.Read(st.Entry, 4) == nil || st.Read(st.Argument, 8) == nil {
			t.Errorf("entry %#x and argument %#x are not both in memory", st.Entry, st.Argument)
		}
	})
}
