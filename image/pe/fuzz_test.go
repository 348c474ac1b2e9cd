// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"bytes"
	"crypto"
	"testing"
)

// FuzzParse checks that no input makes the reader fail, and that what it
// accepts keeps its promises: every view lies in the file, and what the
// Builder makes of it is accepted again with the same contents.
func FuzzParse(f *testing.F) {
	f.Add(sample(f, amd64))
	f.Add(signed(f, sample(f, amd64), []byte("one"), []byte("two")))
	f.Add(sample(f, Options{Machine: 0x14c, PE32: true, Directories: []Directory{}}, NewSection{Name: "/4"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		for _, s := range p.Sections {
			if got := len(p.Data(s)); got != int(s.ContentSize()) {
				t.Errorf("Data(%q) = %d bytes, want %d", s.Name, got, s.ContentSize())
			}
			if got := len(p.RawData(s)); got != int(s.SizeOfRawData) {
				t.Errorf("RawData(%q) = %d bytes, want %d", s.Name, got, s.SizeOfRawData)
			}
		}
		for i := range p.Directories {
			p.FileOffset(p.Directory(i).VirtualAddress, p.Directory(i).Size)
		}
		if _, err := p.Certificates(); err == nil {
			p.Trimmed()
		}
		before, derr := p.Digest(crypto.SHA256)
		extents := p.Unhashed()
		if derr == nil && len(extents) == 0 && len(b) > int(p.SizeOfHeaders) && p.CertTable.Size == 0 {
			// Without gaps every byte behind the headers counts.
			c := bytes.Clone(b)
			c[len(c)-1] ^= 1
			q := *p
			q.Raw = c
			if after, err := q.Digest(crypto.SHA256); err == nil && bytes.Equal(before, after) {
				t.Error("Digest() does not cover the last byte")
			}
		}
		build, err := FromFile(p)
		if err != nil {
			return
		}
		if build.Add(NewSection{Name: ".new", Data: [][]byte{[]byte("x")}}) != nil {
			return
		}
		l, err := build.Layout()
		if err != nil || l.Size() > 1<<22 {
			return
		}
		var out bytes.Buffer
		if _, err := l.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		q, err := Parse(out.Bytes())
		if err != nil {
			t.Fatalf("Parse(built) = %v", err)
		}
		if CheckSumOf(q) != q.CheckSum {
			t.Errorf("CheckSum = 0x%x, want 0x%x", q.CheckSum, CheckSumOf(q))
		}
	})
}
