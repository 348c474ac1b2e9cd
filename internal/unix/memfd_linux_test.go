// SPDX-License-Identifier: Apache-2.0

package unix

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestMemfdSealAndMap(t *testing.T) {
	f, err := MemfdCreate(strings.Repeat("n", 400))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("contents"); err != nil {
		t.Fatal(err)
	}
	w, err := MapShared(f, 8)
	if err != nil {
		t.Fatal(err)
	}
	if err := SealAll(f); !errors.Is(err, EBUSY) || !strings.Contains(err.Error(), "F_ADD_SEALS") {
		t.Errorf("SealAll(while mapped for writing) = %v, want %v", err, EBUSY)
	}
	w[0] = 'C'
	if err := Remap(f, w); err != nil {
		t.Fatal(err)
	}
	if err := SealAll(f); err != nil {
		t.Fatal(err)
	}
	if ok, err := Sealed(f); !ok || err != nil {
		t.Errorf("Sealed() = %v, %v, want true", ok, err)
	}
	r, err := MapRead(f, 8)
	if err != nil {
		t.Fatal(err)
	}
	if string(w) != "Contents" || string(r) != "Contents" {
		t.Errorf("mappings hold %q and %q, want %q", w, r, "Contents")
	}
	for _, b := range [][]byte{w, r, nil} {
		if err := Unmap(b); err != nil {
			t.Errorf("Unmap() = %v", err)
		}
	}
	if n, err := AllocatedBytes(f); n == 0 || err != nil {
		t.Errorf("AllocatedBytes() = %d, %v", n, err)
	}
}

func TestNotSealed(t *testing.T) {
	f, err := MemfdCreate("x")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := Sealed(f); ok || err != nil {
		t.Errorf("Sealed(fresh memfd) = %v, %v, want false", ok, err)
	}
	f.Close()
	if err := SealAll(f); err == nil {
		t.Error("SealAll(closed) gave no error")
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := MapRead(dir, 1); !errors.Is(err, ENODEV) {
		t.Errorf("MapRead(directory) = %v, want %v", err, ENODEV)
	}
}
