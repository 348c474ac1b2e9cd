// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package unix

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
)

// TestSeccompOnly runs the filter by hand: each test must lead to the last
// instruction, which kills, unless all hold.
func TestSeccompOnly(t *testing.T) {
	const nr, ip = 10, 0x7e0000000102
	b := SeccompOnly(nr, ip)
	run := func(data map[uint32]uint32) uint32 {
		acc := uint32(0)
		for pc := 0; pc < len(b)/8; pc++ {
			i := b[pc*8:]
			k := binary.LittleEndian.Uint32(i[4:])
			switch code := binary.LittleEndian.Uint16(i); code {
			case 0x20: // BPF_LD | BPF_W | BPF_ABS
				acc = data[k]
			case 0x15: // BPF_JMP | BPF_JEQ | BPF_K
				if acc == k {
					pc += int(i[2])
				} else {
					pc += int(i[3])
				}
			case 0x06: // BPF_RET | BPF_K
				return k
			default:
				t.Fatalf("instruction %#x", code)
			}
		}
		t.Fatal("filter has no end")
		return 0
	}
	const allow, kill = 0x7fff0000, 0x80000000
	good := map[uint32]uint32{0: nr, 4: auditArch, 8: 0x00000102, 12: 0x7e00}
	if got := run(good); got != allow {
		t.Errorf("filter = %#x, want %#x", got, uint32(allow))
	}
	for at := range good {
		bad := map[uint32]uint32{}
		for k, v := range good {
			bad[k] = v
		}
		bad[at]++
		if got := run(bad); got != kill {
			t.Errorf("filter with other data at %d = %#x, want %#x", at, got, uint32(kill))
		}
	}
}

func TestSparse(t *testing.T) {
	f, err := MemfdCreate("sparse")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 40
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := SealSize(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1); !errors.Is(err, EPERM) {
		t.Errorf("Truncate(sealed) = %v, want %v", err, EPERM)
	}
	b, err := MapSparse(f, size)
	if err != nil {
		t.Fatal(err)
	}
	defer Unmap(b)
	if _, _, ok, err := NextData(f, 0); ok || err != nil {
		t.Errorf("NextData(empty) = %v, %v", ok, err)
	}
	b[size/2] = 1
	start, end, ok, err := NextData(f, 0)
	if !ok || err != nil || start > size/2 || end <= size/2 {
		t.Errorf("NextData() = %#x, %#x, %v, %v", start, end, ok, err)
	}
}

func TestMemfdExecutable(t *testing.T) {
	f, err := MemfdExecutable("x", []byte("contents"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != 8 || info.Mode()&0o111 == 0 {
		t.Errorf("Stat() = %v, %v, want 8 bytes that can be executed", info, err)
	}
	if _, err := StartTraced(f, os.Stdin); !errors.Is(err, ENOEXEC) {
		t.Errorf("StartTraced(text) = %v, want %v", err, ENOEXEC)
	}
}
