// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"testing"
	"time"

	"github.com/peelboot/peel/parser/stock"
)

// tight are budgets that keep one fuzzing step short.
var tight = Limits{Kernel: 1 << 20, Output: 2 << 20, Copies: 2 << 20, Memory: 16 << 20, Touched: 8 << 20, Instructions: 1 << 16, Commands: 64}

// hostile runs an operator's object on an image. Whatever the object is, the
// run ends by itself, changes neither the image nor the object, and its error
// is one of this package's.
func hostile(t *testing.T, object, img []byte) {
	t.Helper()
	imgBefore, objectBefore := bytes.Clone(img), bytes.Clone(object)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := Run(ctx, img, Options{Programs: object, NoStock: true, Limits: tight, Trace: func(Command) {}, Print: func(string, string) {}})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		t.Error("the program ran for seconds within its budget")
	case err != nil && !errIs(err, ErrNoParser, ErrBroken, ErrProgram, ErrGeneration, ErrContainer, ErrTruncated, ErrTrailer, ErrLimit, ErrVerification, ErrAddons):
		t.Errorf("error of no kind: %v", err)
	case err == nil && (r.Payload == nil || len(r.Payload.Kernel.Data) == 0):
		t.Error("success without a kernel")
	}
	if !bytes.Equal(img, imgBefore) {
		t.Error("the image was changed")
	}
	if !bytes.Equal(object, objectBefore) {
		t.Error("the object was changed")
	}
}

// executable lists the parts of an object that hold instructions.
func executable(t testing.TB, object []byte) (parts [][2]int) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR != 0 && s.Size > 0 {
			parts = append(parts, [2]int{int(s.Offset), int(s.Size)})
		}
	}
	return parts
}

// FuzzProgram puts instruction bytes into an object that is good otherwise:
// its maps, types, relocations and kernel functions stay. which chooses the
// object and the section, at the instruction from which bytes take the place.
func FuzzProgram(f *testing.F) {
	objects := stock.Objects()
	images := [][]byte{makeImage(4096), makeZboot(gzipped(f, makeImage(4096)), "gzip"), []byte("made up format")}
	var sections [][][2]int
	for i, o := range objects {
		sections = append(sections, executable(f, o))
		for j := range sections[i] {
			f.Add(uint8(i), uint8(j), uint16(3), []byte{})
			f.Add(uint8(i), uint8(j), uint16(0), []byte{0x95, 0, 0, 0, 0, 0, 0, 0})                                        // exit
			f.Add(uint8(i), uint8(j), uint16(4), []byte{0x05, 0, 0xff, 0xff, 0, 0, 0, 0})                                  // loop
			f.Add(uint8(i), uint8(j), uint16(2), []byte{0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff})                         // recursion
			f.Add(uint8(i), uint8(j), uint16(5), []byte{0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0, 0x79, 0x01, 0, 0, 0, 0, 0, 0}) // wild load
			f.Add(uint8(i), uint8(j), uint16(7), []byte{0x85, 0, 0, 0, 131, 0, 0, 0, 0x85, 0, 0, 0, 133, 0, 0, 0})         // helpers
		}
	}
	f.Fuzz(func(t *testing.T, which, section uint8, at uint16, code []byte) {
		i := int(which) % len(objects)
		part := sections[i][int(section)%len(sections[i])]
		object := bytes.Clone(objects[i])
		text := object[part[0] : part[0]+part[1]]
		copy(text[int(at)*8%len(text):], code)
		hostile(t, object, images[int(at)%len(images)])
	})
}

// FuzzObject runs any bytes as the operator's object or container, bare and as
// the image's own .bpf section.
func FuzzObject(f *testing.F) {
	for _, form := range [][][]byte{stock.Objects(), stock.Skeletons()} {
		for _, o := range form {
			f.Add(o)
		}
	}
	c, err := BuildContainer([][]byte{stock.Objects()[1], stock.Objects()[4]}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c)
	img := makeZboot(gzipped(f, makeImage(4096)), "gzip")
	f.Fuzz(func(t *testing.T, object []byte) {
		hostile(t, object, img)
		if len(object) > 1<<18 {
			return
		}
		own := makeUKI(t, peOptions, section(".text", make([]byte, 64)), section(".bpf", object))
		if _, err := Run(context.Background(), own, Options{NoStock: true, Limits: tight}); err == nil {
			t.Log("an image whose own program takes it apart")
		}
	})
}
