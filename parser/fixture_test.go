// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/zboot"
)

func section(name string, data []byte) pe.NewSection {
	return pe.NewSection{Name: name, Data: [][]byte{data}, Characteristics: pe.SectionRead | pe.SectionInitializedData}
}

func layout(t testing.TB, b *pe.Builder) []byte {
	t.Helper()
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

// makeUKI makes a PE image of sections by the writer of image/pe.
func makeUKI(t testing.TB, o pe.Options, sections ...pe.NewSection) []byte {
	t.Helper()
	if o.Machine == 0 {
		o.Machine = 0x8664
	}
	b := pe.NewBuilder(o)
	for _, s := range sections {
		if err := b.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	return layout(t, b)
}

// withSection adds a section to an image, whose zboot payload is found again.
func withSection(t testing.TB, f *pe.File, name string, data []byte) []byte {
	t.Helper()
	b, err := pe.FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(section(name, data)); err != nil {
		t.Fatal(err)
	}
	out := layout(t, b)
	if z, err := zboot.Parse(f.Raw); err == nil {
		at := bytes.Index(out, z.Payload())
		if at < 0 {
			t.Fatal("payload lost")
		}
		if err := zboot.SetPayload(out, uint32(at), z.PayloadSize); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// makeImage makes the smallest arm64 Image: a header and size bytes.
func makeImage(size int) []byte {
	b := make([]byte, max(size, 64))
	copy(b[56:], "ARM\x64")
	le.PutUint64(b[16:], uint64(len(b)))
	return b
}

// makeZboot makes a zboot header in front of a payload.
func makeZboot(payload []byte, method string) []byte {
	b := make([]byte, 64, 64+len(payload))
	copy(b, "MZ\x00\x00zimg")
	le.PutUint32(b[8:], 64)
	le.PutUint32(b[12:], uint32(len(payload)))
	copy(b[24:], method)
	le.PutUint32(b[0x38:], 0x818223cd)
	return append(b, payload...)
}

// fails runs and wants an error that is one of want.
func fails(t testing.TB, img []byte, o Options, want error) {
	t.Helper()
	r, err := Run(context.Background(), img, o)
	if err == nil {
		t.Fatalf("Run = %+v, want %v", r.Layers, want)
	}
	if !errors.Is(err, want) {
		t.Fatalf("Run: %v, want %v", err, want)
	}
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// peOptions is what makeUKI takes for an x86-64 image.
var peOptions = pe.Options{Machine: 0x8664}
