// SPDX-License-Identifier: Apache-2.0

package ima_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peelboot/peel/trust/ima"
)

// An attribute of the user's own stands in for security.ima, which only the
// superuser may write.
func TestFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := ima.Read(ima.File{File: f}); b != nil || err != nil {
		t.Errorf("Read(fresh file) = %x, %v, want nil, nil", b, err)
	}
	want := []byte{3, 2, 4}
	if err := unix.Setxattr(p, "user.peel", want, 0); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			// Nothing to read on this file system; that it says so is
			// what the reader above relied on.
			return
		}
		t.Fatal(err)
	}
	if b, err := (ima.File{File: f}).ReadAttribute("user.peel", 16); !bytes.Equal(b, want) || err != nil {
		t.Errorf("ReadAttribute() = %x, %v, want %x", b, err, want)
	}
	if _, err := (ima.File{File: f}).ReadAttribute("user.peel", 2); err == nil {
		t.Error("ReadAttribute(limit 2) = nil error, want one")
	}
	if _, err := (ima.File{File: f}).ReadAttribute("user.none", 16); !errors.Is(err, ima.ErrNoAttribute) {
		t.Errorf("ReadAttribute(none) = %v, want ErrNoAttribute", err)
	}
}
