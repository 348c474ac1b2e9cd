// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"
)

// typed fails the test if err is not one of the package's own.
func typed(t *testing.T, err error) {
	t.Helper()
	for _, want := range []error{
		ErrFormat, ErrTruncated, ErrLimit, ErrUnsupported, ErrNoProgram, ErrNoSkeleton, ErrRelocation, ErrInvalid,
		ErrAccess, ErrPermission, ErrAlignment, ErrFreed, ErrInstructions, ErrMemory, ErrDepth, ErrNoHelper, ErrNoKfunc,
		ErrReference, ErrArgument, ErrPoisoned, ErrTime,
	} {
		if errors.Is(err, want) {
			_ = err.Error()
			return
		}
	}
	t.Errorf("error of no kind: %v", err)
}

func FuzzRaw(f *testing.F) {
	f.Add(program(mov(0, 1), exit), []byte(nil))
	f.Add(program(slot{op: classLDX | modeMEM, src: 1}, exit), []byte("memory"))
	f.Add(program(slot{op: opcodeCall, src: callLocal, imm: -1}, exit), []byte(nil))
	f.Add(program(slot{op: classJMP, off: -1}, exit), []byte(nil))
	f.Add(program(imm64(3, 0x1122334455667788), slot{op: classSTX | modeATOMIC | sizeDW, dst: 1, src: 3, imm: 0xf1}, exit), make([]byte, 16))
	f.Add(program(movx(6, 1), mov(2, 8), movx(3, 6), movx(1, 10), slot{op: classALU64, dst: 1, imm: -8}, helper(113), exit), make([]byte, 16))
	f.Add(program(mov(1, 3), slot{op: opcodeLdImm64, dst: 2, src: pseudoFunc, imm: 5}, slot{}, mov(3, 0), mov(4, 0),
		helper(helperLoop), exit, mov(0, 0), exit), []byte(nil))
	for _, s := range aluForms() {
		f.Add(program(imm64(1, 1<<63), imm64(2, ^uint64(0)), s, movx(0, 1), exit), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, b, memory []byte) {
		first := bytes.Clone(memory)
		second := bytes.Clone(memory)
		r1, err1 := RunRaw(context.Background(), b, first, Budget{Instructions: 1 << 14, Memory: 1 << 20})
		r2, err2 := RunRaw(context.Background(), b, second, Budget{Instructions: 1 << 14, Memory: 1 << 20})
		if err1 != nil {
			typed(t, err1)
		}
		if r1 != r2 || (err1 == nil) != (err2 == nil) || !bytes.Equal(first, second) {
			t.Errorf("two runs differ: %#x, %v and %#x, %v", r1, err1, r2, err2)
		}
	})
}

func FuzzALU(f *testing.F) {
	for _, s := range aluForms() {
		f.Add(s.op, s.off, s.imm, uint64(1<<63), ^uint64(0))
	}
	f.Fuzz(func(t *testing.T, op uint8, off int16, imm int32, dst, src uint64) {
		s := slot{op: op, dst: 1, off: off, imm: imm}
		if op&7 != classALU && op&7 != classALU64 {
			return
		}
		if op&sourceX != 0 && op&0xf0 != aluEND {
			s.src = 2
		}
		got, err := RunRaw(context.Background(), program(imm64(1, dst), imm64(2, src), s, movx(0, 1), exit), nil, Budget{})
		if err != nil {
			return
		}
		if want := referenceALU(s, dst, src); got != want {
			t.Errorf("%+v with dst %#x, src %#x = %#x, want %#x", s, dst, src, got, want)
		}
	})
}

// exercise links an object and runs all its programs.
func exercise(t *testing.T, o *Object, h *v7Host) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := o.Link(&h.Host, Options{Budget: Budget{Instructions: 1 << 14, Memory: 4 << 20}, Trace: func(string) {}})
	if err != nil {
		typed(t, err)
		return
	}
	image := []byte("\x04\x00\x00\x00kern and more")
	r1 := h.enter(t, m, image)
	for _, name := range m.Programs() {
		if _, err := m.Run(ctx, name, r1); err != nil {
			if errors.Is(err, ErrTime) {
				t.Errorf("program %s ran for seconds", name)
			}
			typed(t, err)
		}
	}
	if string(image) != "\x04\x00\x00\x00kern and more" {
		t.Error("a program changed a read-only region")
	}
}

func FuzzLoadELF(f *testing.F) {
	f.Add(compile(f, "parser"))
	f.Add(compile(f, "core"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		h := newV7Host()
		o, err := OpenObject(b, &h.Host)
		if err != nil {
			typed(t, err)
			return
		}
		exercise(t, o, h)
		if !bytes.Equal(b, before) {
			t.Error("the object file was changed")
		}
	})
}

func FuzzLoadSkeleton(f *testing.F) {
	for _, name := range []string{"parser", "core"} {
		insns, data, err := FindSkeleton(skeleton(f, compile(f, name)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(insns, data)
	}
	f.Fuzz(func(t *testing.T, insns, data []byte) {
		h := newV7Host()
		o, err := LoadSkeleton(insns, data, &h.Host)
		if err != nil {
			typed(t, err)
			return
		}
		exercise(t, o, h)
	})
}

func FuzzFindSkeleton(f *testing.F) {
	f.Add(skeleton(f, compile(f, "parser")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := FindSkeleton(b); err != nil {
			typed(t, err)
		}
	})
}
