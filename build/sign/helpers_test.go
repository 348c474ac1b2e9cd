// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto"
	"os"
	"os/exec"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// keyOf turns a test key into one that signs.
func keyOf(k *testkit.Key, chain ...*testkit.Key) Key {
	out := Key{Signer: k.Signer, Certificate: k.Cert}
	for _, c := range chain {
		out.Chain = append(out.Chain, c.Cert)
	}
	return out
}

// accepts reports whether a tool ends well.
func accepts(t *testing.T, tool string, args ...string) bool {
	t.Helper()
	out, err := exec.Command(testkit.Tool(t, tool), args...).CombinedOutput()
	t.Logf("%s %q: %v\n%s", tool, args, err, out)
	return err == nil
}

// smallPE returns a small unsigned image whose length is no multiple of 8.
func smallPE(t testing.TB) []byte {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0x8664, FileAlignment: 4})
	for _, s := range []struct{ name, data string }{{".text", "code"}, {".cmdline", "quiet"}} {
		if err := b.Add(pe.NewSection{Name: s.name, Data: [][]byte{[]byte(s.data)}, Characteristics: pe.SectionInitializedData | pe.SectionRead}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func parse(t testing.TB, b []byte) *pe.File {
	t.Helper()
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func signPE(t testing.TB, image []byte, k Key, o Options, replace bool) []byte {
	t.Helper()
	a, err := PE(parse(t, image), k, o, replace)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	n, err := a.WriteTo(&out)
	if err != nil || n != a.Size() || !bytes.Equal(out.Bytes(), a.Bytes()) {
		t.Fatalf("Attached.WriteTo = %d, %v, want %d bytes as Bytes has them", n, err, a.Size())
	}
	return out.Bytes()
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x10
	return b
}

func digest(h crypto.Hash, b []byte) []byte {
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

func writeBeside(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
