// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/appended"
)

// verifier answers what it is told and counts the questions.
type verifier struct {
	mode                    SigMode
	image, ima, programs    error
	images, imas, asked     int
	lastImage, lastPrograms []byte
	lastSignature           []byte
}

func (v *verifier) Mode() SigMode { return v.mode }
func (v *verifier) Image(_ context.Context, _ string, b []byte) error {
	v.images++
	v.lastImage = bytes.Clone(b)
	return v.image
}
func (v *verifier) IMA(_ context.Context, _ string, _, _ []byte) error { v.imas++; return v.ima }
func (v *verifier) Programs(_ context.Context, _ string, p, s []byte) error {
	v.asked++
	v.lastPrograms, v.lastSignature = p, s
	return v.programs
}

var errNo = errors.New("the test says no")

// Snapshot 5: sig_mode is never set and VERIFY_SIG has no handler; the fields
// of the trailer are not checked.
func TestSnapshot5Signatures(t *testing.T) {
	object, _ := build(t, "testdata/foreign/zboot.c", "-DLATER")
	z := testkit.ReadFile(t, zbootData+zboots[0].file)

	v := &verifier{mode: SigPE}
	yields(t, object, z, Options{Verifier: v})
	if v.images != 1 || !bytes.Equal(v.lastImage, z) {
		t.Errorf("asked %d times, last for %d bytes; want once for the image", v.images, len(v.lastImage))
	}
	v = &verifier{mode: SigNone}
	yields(t, object, z, Options{Verifier: v})
	if v.images != 0 {
		t.Errorf("mode NONE: asked %d times, want 0", v.images)
	}
	// The answer no is final, whatever the program makes of it, and no other
	// program gets a try.
	stubborn := compile(t, program(`
	SEND(VERIFY_SIG, 0, 0, buf, sz);
	SEND(COPY, KERNEL, 0, kernel_bytes, 64);
	SEND(DONE, 0, 0, 0, 0);`))
	for name, o := range map[string]Options{
		"obedient": {Programs: object, Verifier: &verifier{mode: SigPE, image: errNo}},
		"stubborn": {Programs: stubborn, Verifier: &verifier{mode: SigPE, image: errNo}},
		"stock":    {Verifier: &verifier{mode: SigPE, image: errNo}},
		"nobody":   {Programs: stubborn},
	} {
		_, err := Run(context.Background(), z, o)
		if !errors.Is(err, ErrVerification) {
			t.Errorf("%s: %v, want %v", name, err, ErrVerification)
		}
		if name != "nobody" && !errors.Is(err, errNo) {
			t.Errorf("%s: %v, want the reason", name, err)
		}
	}

	c := container(t, object)
	signed, err := AppendTrailer(c, []byte("pkcs7"))
	if err != nil {
		t.Fatal(err)
	}
	v = &verifier{}
	yields(t, signed, z, Options{Verifier: v})
	if v.asked != 1 || !bytes.Equal(v.lastPrograms, c) || string(v.lastSignature) != "pkcs7" {
		t.Errorf("container asked for %d times with signature %q, want once with pkcs7", v.asked, v.lastSignature)
	}
	block := len(signed) - len(appended.Marker) - appended.BlockSize
	for i := range 11 { // the last byte makes it another length, which is possible
		b := bytes.Clone(signed)
		b[block+i] ^= 0x80
		if _, _, err := SplitTrailer(b); !errors.Is(err, ErrTrailer) {
			t.Errorf("byte %d of the block changed: %v, want %v", i, err, ErrTrailer)
		}
	}
	b := bytes.Clone(signed)
	le.PutUint32(b[block+8:], 0)
	if _, _, err := SplitTrailer(b); !errors.Is(err, ErrTrailer) {
		t.Errorf("signature of 0 bytes: %v, want %v", err, ErrTrailer)
	}
	if _, _, err := SplitTrailer([]byte(appended.Marker)); !errors.Is(err, ErrTrailer) {
		t.Errorf("marker alone: %v, want %v", err, ErrTrailer)
	}
}
