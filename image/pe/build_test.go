// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"bytes"
	stdpe "debug/pe"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBuildAppend appends sections to an image: what was there stays, the
// certificate table goes, and Go's own PE reader agrees on the result.
func TestBuildAppend(t *testing.T) {
	// Six data directories leave room for three more section headers.
	o := amd64
	o.Directories = make([]Directory, 6)
	stub := signed(t, sample(t, o), []byte("certificate"))
	f, err := Parse(stub)
	if err != nil {
		t.Fatal(err)
	}
	b, err := FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	initrd := bytes.Repeat([]byte("initrd"), 1000)
	for _, s := range []NewSection{
		{Name: ".initrd", Data: [][]byte{initrd[:2500], initrd[2500:]}, Characteristics: SectionInitializedData | SectionRead},
		{Name: ".cmdline", Data: [][]byte{[]byte("quiet")}, VirtualSize: 9000, Characteristics: SectionInitializedData | SectionRead},
		{Name: ".empty", Characteristics: SectionRead},
	} {
		if err := b.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	out := written(t, b)
	g, err := Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.Sections, g.Sections[:3]); diff != "" {
		t.Errorf("sections of the stub (-before +after):\n%s", diff)
	}
	if g.CertTable.Size != 0 || g.EntryPoint != f.EntryPoint {
		t.Errorf("certificate table %+v, entry 0x%x, want none and 0x%x", g.CertTable, g.EntryPoint, f.EntryPoint)
	}
	if s, _ := g.Find(".initrd"); !bytes.Equal(g.Data(s), initrd) {
		t.Errorf("Data(.initrd) = %d bytes, want %d", len(g.Data(s)), len(initrd))
	}
	if s, _ := g.Find(".cmdline"); s.VirtualSize != 9000 || s.SizeOfRawData != 512 {
		t.Errorf(".cmdline = %+v, want VirtualSize 9000 and SizeOfRawData 512", s)
	}
	if g.SizeOfImage%4096 != 0 || g.CheckSum != CheckSumOf(g) {
		t.Errorf("SizeOfImage 0x%x, CheckSum 0x%x, want a multiple of 4096 and 0x%x", g.SizeOfImage, g.CheckSum, CheckSumOf(g))
	}
	std, err := stdpe.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(std.Sections); n != 6 || std.Sections[3].VirtualSize != uint32(len(initrd)) {
		t.Errorf("debug/pe sees %d sections, .initrd of %d bytes", n, std.Sections[3].VirtualSize)
	}
	if again := written(t, b); !bytes.Equal(out, again) {
		t.Error("a second Layout of the same Builder gives other bytes")
	}
}

// TestBuildMoves adds so many sections that the table needs the room of the
// first section's data: file offsets move, addresses do not, and the debug
// directory follows.
func TestBuildMoves(t *testing.T) {
	debug := make([]byte, 28+16)
	le.PutUint32(debug[12:], 2)
	le.PutUint32(debug[16:], 16)
	le.PutUint32(debug[20:], 0x1000+28)
	le.PutUint32(debug[24:], 0x200+28)
	copy(debug[28:], "codeview here 16")
	o := amd64
	o.Directories = make([]Directory, 16)
	o.Directories[DirDebug] = Directory{0x1000, 28}
	nb := NewBuilder(o)
	if err := nb.Add(NewSection{Name: ".rdata", Data: [][]byte{debug}, Characteristics: SectionInitializedData | SectionRead}); err != nil {
		t.Fatal(err)
	}
	f, err := Parse(written(t, nb))
	if err != nil {
		t.Fatal(err)
	}
	b, err := FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := b.Add(NewSection{Name: ".dtbauto", Data: [][]byte{[]byte("tree")}}); err != nil {
			t.Fatal(err)
		}
	}
	g, err := Parse(written(t, b))
	if err != nil {
		t.Fatal(err)
	}
	first := g.Sections[0]
	if first.VirtualAddress != 0x1000 || first.PointerToRawData <= 0x200 || first.PointerToRawData != g.SizeOfHeaders {
		t.Errorf("first section = %+v, headers 0x%x", first, g.SizeOfHeaders)
	}
	d := g.Data(first)
	at := le.Uint32(d[24:])
	if got := string(g.Raw[at : at+16]); got != "codeview here 16" {
		t.Errorf("debug entry points at 0x%x, %q", at, got)
	}
	if at == 0x200+28 {
		t.Error("debug entry was not moved")
	}
	if le.Uint32(f.Data(f.Sections[0])[24:]) != 0x200+28 {
		t.Error("the debug entry of the image given was changed")
	}

	// With the first section right behind the headers there is no room.
	tight := amd64
	tight.SectionAlignment = 512
	if f, err = Parse(sample(t, tight)); err != nil {
		t.Fatal(err)
	}
	if b, err = FromFile(f); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := b.Add(NewSection{Name: ".x"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Layout(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("Layout(no room) = %v, want %v", err, ErrNoRoom)
	}
}

func TestBuildRefuses(t *testing.T) {
	add := func(o Options, s ...NewSection) error {
		b := NewBuilder(o)
		for _, s := range s {
			if err := b.Add(s); err != nil {
				return err
			}
		}
		_, err := b.Layout()
		return err
	}
	for _, tc := range []struct {
		name string
		got  error
		want error
	}{
		{"empty name", add(amd64, NewSection{}), ErrBuild},
		{"long name", add(amd64, NewSection{Name: ".ninechar"}), ErrBuild},
		{"odd alignment", add(Options{FileAlignment: 513}), ErrBuild},
		{"zero DOS header", add(Options{DOS: make([]byte, 64)}), ErrBuild},
		{"certificate directory", add(Options{Directories: []Directory{4: {1, 1}}}), ErrBuild},
		{"17 directories", add(Options{Directories: make([]Directory, 17)}), ErrBuild},
		{"PE32 with a 64-bit base", add(Options{PE32: true, ImageBase: 1 << 32}), ErrBuild},
		{"same address", add(amd64, NewSection{Name: ".a", VirtualAddress: 0x1000, VirtualSize: 2}, NewSection{Name: ".b", VirtualAddress: 0x1001, VirtualSize: 2}), ErrSectionOverlap},
		{"beyond 4 GiB", add(amd64, NewSection{Name: ".a", VirtualAddress: 0xffffe000, VirtualSize: 0x1800}, NewSection{Name: ".b", VirtualSize: 1}), ErrBuild},
	} {
		if !errors.Is(tc.got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

func TestBuildRemove(t *testing.T) {
	f, err := Parse(sample(t, amd64))
	if err != nil {
		t.Fatal(err)
	}
	b, err := FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if n := b.Remove(".data"); n != 1 {
		t.Errorf("Remove(.data) = %d, want 1", n)
	}
	b.SetMachine(0xaa64)
	b.SetSubsystem(SubsystemEFIBootDriver)
	b.SetDllCharacteristics(DllNXCompat)
	g, err := Parse(written(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := g.Find(".data"); ok || len(g.Sections) != 2 || g.Machine != 0xaa64 || g.Subsystem != SubsystemEFIBootDriver || g.DllCharacteristics != DllNXCompat {
		t.Errorf("after Remove: %d sections, machine 0x%x, subsystem %d, characteristics 0x%x", len(g.Sections), g.Machine, g.Subsystem, g.DllCharacteristics)
	}
	if len(f.Sections) != 3 {
		t.Errorf("the file given has %d sections now, want 3", len(f.Sections))
	}
}

// failAt is a writer that fails after n bytes.
type failAt struct{ n int }

func (w *failAt) Write(p []byte) (int, error) {
	if len(p) > w.n {
		return w.n, io.ErrShortWrite
	}
	w.n -= len(p)
	return len(p), nil
}

func TestWriteToError(t *testing.T) {
	b := NewBuilder(amd64)
	if err := b.Add(NewSection{Name: ".a", Data: [][]byte{make([]byte, 1000)}}); err != nil {
		t.Fatal(err)
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 600, 1300, 1530} {
		if got, err := l.WriteTo(&failAt{n}); got != int64(n) || !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("WriteTo(fails after %d) = %d, %v", n, got, err)
		}
	}
}

func TestWordSum(t *testing.T) {
	fold := func(v uint64) uint64 {
		for v > 0xffff {
			v = v&0xffff + v>>16
		}
		return v
	}
	b := make([]byte, 1027)
	for i := range b {
		b[i] = byte(i*7 + 255)
	}
	var want uint64
	for i := 0; i < len(b); i += 2 {
		want += uint64(b[i])
		if i+1 < len(b) {
			want += uint64(b[i+1]) << 8
		}
	}
	for cut := range len(b) {
		if got := fold(wordSum(b[:cut], false) + wordSum(b[cut:], cut&1 == 1)); got != fold(want) {
			t.Fatalf("wordSum(cut at %d) = 0x%x, want 0x%x", cut, got, fold(want))
		}
	}
}
