// SPDX-License-Identifier: Apache-2.0

package pe

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample returns a small image: .text, .data and .linux, of 0x200 bytes of
// headers (0x400 for many sections).
func sample(t testing.TB, o Options, extra ...NewSection) []byte {
	t.Helper()
	b := NewBuilder(o)
	for _, s := range append([]NewSection{
		{Name: ".text", Data: [][]byte{bytes.Repeat([]byte{0x90}, 700)}, Characteristics: SectionCode | SectionExecute | SectionRead},
		{Name: ".data", Data: [][]byte{[]byte("da"), []byte("ta")}, VirtualSize: 5000, Characteristics: SectionInitializedData | SectionRead},
		{Name: ".linux", Data: [][]byte{[]byte("kernel")}, Characteristics: SectionInitializedData | SectionRead},
	}, extra...) {
		if err := b.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	return written(t, b)
}

func written(t testing.TB, b *Builder) []byte {
	t.Helper()
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	n, err := l.WriteTo(&out)
	if err != nil || n != int64(out.Len()) || n != l.Size() {
		t.Fatalf("WriteTo() = %d, %v, wrote %d, want %d", n, err, out.Len(), l.Size())
	}
	return out.Bytes()
}

var amd64 = Options{Machine: 0x8664, EntryPoint: 0x1000}

// signed returns an image followed by a certificate table of the entries.
func signed(t testing.TB, img []byte, entries ...[]byte) []byte {
	t.Helper()
	f, err := Parse(img)
	if err != nil {
		t.Fatal(err)
	}
	out := append(bytes.Clone(img), make([]byte, Padding(int64(len(img))))...)
	at := len(out)
	for _, e := range entries {
		head := make([]byte, 8)
		le.PutUint32(head, uint32(8+len(e)))
		le.PutUint16(head[4:], CertRevision2)
		le.PutUint16(head[6:], CertTypePKCS)
		out = append(append(out, head...), e...)
		out = append(out, make([]byte, Padding(int64(len(out))))...)
	}
	d := out[f.directoryOffset(DirCertificate):]
	le.PutUint32(d, uint32(at))
	le.PutUint32(d[4:], uint32(len(out)-at))
	return out
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name string
		opt  Options
	}{
		{"PE32+", amd64},
		{"PE32", Options{Machine: 0x14c, PE32: true, ImageBase: 0x400000, EntryPoint: 0x1000}},
		{"few directories", Options{Machine: 0xaa64, EntryPoint: 0x1000, Directories: []Directory{}}},
		{"small alignment", Options{Machine: 0xaa64, EntryPoint: 0x1000, FileAlignment: 32, SectionAlignment: 4096}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse(sample(t, tc.opt))
			if err != nil {
				t.Fatal(err)
			}
			if f.Machine != tc.opt.Machine || f.Plus == tc.opt.PE32 || f.EntryPoint != 0x1000 || f.ImageBase != tc.opt.ImageBase || f.Subsystem != 10 {
				t.Errorf("Parse() = machine 0x%x, plus %v, entry 0x%x, base 0x%x, subsystem %d", f.Machine, f.Plus, f.EntryPoint, f.ImageBase, f.Subsystem)
			}
			var names []string
			for _, s := range f.Sections {
				names = append(names, s.Name)
			}
			if diff := cmp.Diff([]string{".text", ".data", ".linux"}, names); diff != "" {
				t.Errorf("Sections (-want +got):\n%s", diff)
			}
			data, _ := f.Find(".data")
			if got := f.RawData(data); data.VirtualSize != 5000 || len(got) != int(data.SizeOfRawData) || !bytes.HasPrefix(got, []byte("data\x00")) {
				t.Errorf("RawData(.data) = %d bytes %q, VirtualSize %d", len(got), got[:5], data.VirtualSize)
			}
			linux, ok := f.Find(".linux")
			if got := string(f.Data(linux)); !ok || got != "kernel" {
				t.Errorf("Data(.linux) = %q, want %q", got, "kernel")
			}
			if _, ok := f.Find(".initrd"); ok {
				t.Error("Find(.initrd) found a section, want none")
			}
			if want := CheckSumOf(f); f.CheckSum != want || want == 0 {
				t.Errorf("CheckSum = 0x%x, want 0x%x", f.CheckSum, want)
			}
		})
	}
}

// TestContentSize fixes the rule for sections whose two sizes differ.
func TestContentSize(t *testing.T) {
	for _, tc := range []struct{ virtual, raw, want uint32 }{
		{6, 512, 6}, {512, 512, 512}, {5000, 512, 512}, {0, 512, 0}, {100, 0, 0},
	} {
		if got := (Section{VirtualSize: tc.virtual, SizeOfRawData: tc.raw}).ContentSize(); got != tc.want {
			t.Errorf("ContentSize(VirtualSize %d, SizeOfRawData %d) = %d, want %d", tc.virtual, tc.raw, got, tc.want)
		}
	}
}

// TestTruncated cuts an image at every byte of its headers and at every end
// of a section: each piece must be refused, with the error that fits.
func TestTruncated(t *testing.T) {
	img := signed(t, sample(t, amd64), []byte("certificate"))
	f, err := Parse(img)
	if err != nil {
		t.Fatal(err)
	}
	table := int(f.sectionTable) + len(f.Sections)*sectionHeaderSize
	for n := range len(img) {
		_, err := Parse(img[:n:n])
		var want error
		switch {
		case n < 2 || n >= 64 && n < 68:
			want = ErrNotPE
		case n < table:
			want = ErrTruncated
		case n < int(f.SizeOfHeaders):
			want = ErrHeader
		case n < int(f.CertTable.Offset):
			want = ErrSectionBounds
		default:
			want = ErrCertTable
		}
		if !errors.Is(err, want) {
			t.Fatalf("Parse(first 0x%x bytes) = %v, want %v", n, err, want)
		}
	}
}

// TestManySections parses more sections than others look at (16), up to the
// limit, and sees that a refused count costs no memory.
func TestManySections(t *testing.T) {
	var extra []NewSection
	for i := range 500 {
		extra = append(extra, NewSection{Name: fmt.Sprintf(".s%d", i), Data: [][]byte{{byte(i)}}})
	}
	img := sample(t, amd64, extra...)
	f, err := Parse(img)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := f.Find(".s499")
	if got := f.Data(s); !ok || len(f.Sections) != 503 || !bytes.Equal(got, []byte{243}) {
		t.Errorf("Find(.s499) = %v, %d sections, data %v", ok, len(f.Sections), got)
	}

	le.PutUint16(img[f.Offset+6:], 65535)
	img = append(img, make([]byte, 65535*sectionHeaderSize)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = Parse(img)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrSectionCount) {
		t.Errorf("Parse(65535 sections) = %v, want %v", err, ErrSectionCount)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
		t.Errorf("Parse(65535 sections) allocated %d bytes, want less than 64 KiB", n)
	}
}

// TestLongNames covers the COFF string table, honest and lying.
func TestLongNames(t *testing.T) {
	img := sample(t, amd64, NewSection{Name: "/4", Data: [][]byte{{1}}}, NewSection{Name: "/24", Data: [][]byte{{2}}},
		NewSection{Name: "/99", Data: [][]byte{{3}}}, NewSection{Name: "/x", Data: [][]byte{{4}}}, NewSection{Name: "/31", Data: [][]byte{{5}}})
	table := append([]byte{0, 0, 0, 0}, ".a.rather.long.name\x00.debug\x00not terminated"...)
	le.PutUint32(table, uint32(len(table)))
	f, err := Parse(img)
	if err != nil {
		t.Fatal(err)
	}
	names := func(symbols, count uint32, tail []byte) []string {
		b := append(bytes.Clone(img), tail...)
		le.PutUint32(b[f.Offset+12:], symbols)
		le.PutUint32(b[f.Offset+16:], count)
		g, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, s := range g.Sections[3:] {
			list = append(list, s.Name)
		}
		return list
	}
	literal := []string{"/4", "/24", "/99", "/x", "/31"}
	for _, tc := range []struct {
		name           string
		symbols, count uint32
		tail           []byte
		want           []string
	}{
		// ".debug" has room in the header, so it must stay "/24": a loader
		// that reads the header alone would not see the section.
		{"good", uint32(len(img)), 0, table, []string{".a.rather.long.name", "/24", "/99", "/x", "/31"}},
		{"with symbols", uint32(len(img)) - 36, 2, table, []string{".a.rather.long.name", "/24", "/99", "/x", "/31"}},
		{"none", 0, 0, table, literal},
		{"beyond the file", uint32(len(img)), 0xffffffff, table, literal},
		{"size lies", uint32(len(img)), 0, append([]byte{0xff, 0xff, 0xff, 0xff}, table[4:]...), literal},
		{"size too small", uint32(len(img)), 0, append([]byte{3, 0, 0, 0}, table[4:]...), literal},
	} {
		if diff := cmp.Diff(tc.want, names(tc.symbols, tc.count, tc.tail)); diff != "" {
			t.Errorf("%s: names (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestCertificates(t *testing.T) {
	img := sample(t, amd64)
	f, err := Parse(signed(t, img, []byte("one"), []byte("number two"), nil))
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Certificates()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range list {
		if c.Revision != CertRevision2 || c.Type != CertTypePKCS || c.Offset%8 != 0 {
			t.Errorf("certificate = %+v", c)
		}
		got = append(got, string(c.Data))
	}
	if diff := cmp.Diff([]string{"one", "number two", ""}, got); diff != "" {
		t.Errorf("Certificates (-want +got):\n%s", diff)
	}
	if f, err = Parse(img); err != nil {
		t.Fatal(err)
	}
	if list, err := f.Certificates(); len(list) != 0 || err != nil {
		t.Errorf("Certificates(unsigned) = %v, %v, want none", list, err)
	}

	for _, tc := range []struct {
		name    string
		entries [][]byte
		length  uint32 // replaces the first entry's
	}{
		{"length 0", [][]byte{[]byte("0123456789")}, 0},
		{"length 7", [][]byte{[]byte("0123456789")}, 7},
		{"length beyond the table", [][]byte{[]byte("0123456789")}, 25},
		{"length wraps", [][]byte{[]byte("0123456789")}, 0xffffffff},
		{"too many", make([][]byte, maxCertificates+1), 8},
	} {
		b := signed(t, img, tc.entries...)
		f, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		le.PutUint32(b[f.CertTable.Offset:], tc.length)
		if list, err := f.Certificates(); !errors.Is(err, ErrCertificate) {
			t.Errorf("%s: Certificates() = %d entries, %v, want %v", tc.name, len(list), err, ErrCertificate)
		}
	}
	f, err = Parse(signed(t, img, []byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	f.CertTable.Size -= 12
	if _, err := f.Certificates(); !errors.Is(err, ErrCertificate) {
		t.Errorf("Certificates(4 bytes) = %v, want %v", err, ErrCertificate)
	}
}

// TestDigestSpec computes the digest a second time, straight from the text of
// the Authenticode specification.
func TestDigestSpec(t *testing.T) {
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		img := sample(t, amd64)
		img = append(img, "trailing data"...)
		img = append(img, make([]byte, Padding(int64(len(img))))...)
		b := signed(t, img, []byte("certificate"))
		f, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		sum, dir := f.optional+64, f.directoryOffset(DirCertificate)
		w := h.New()
		w.Write(b[:sum])
		w.Write(b[sum+4 : dir])
		w.Write(b[dir+8 : len(img)])
		got, err := f.Digest(h)
		if want := w.Sum(nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Digest(%v) = %x, %v, want %x", h, got, err, want)
		}
		u, err := Parse(img)
		if err != nil {
			t.Fatal(err)
		}
		if unsigned, err := u.Digest(h); err != nil || !bytes.Equal(got, unsigned) {
			t.Errorf("Digest(%v) of the unsigned image = %x, %v, want the same as signed, %x", h, unsigned, err, got)
		}
	}
	f, err := Parse(sample(t, amd64))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Digest(crypto.MD5); !errors.Is(err, ErrHash) {
		t.Errorf("Digest(MD5) = %v, want %v", err, ErrHash)
	}
}

// TestTrailingData has bytes behind the certificate table, where firmware
// would hash the wrong range.
func TestTrailingData(t *testing.T) {
	b := signed(t, sample(t, amd64), []byte("certificate"))
	f, err := Parse(append(bytes.Clone(b), 0, 0, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Digest(crypto.SHA256); !errors.Is(err, ErrTrailingData) {
		t.Errorf("Digest(trailing data) = %v, want %v", err, ErrTrailingData)
	}
	if got := f.Trimmed(); !bytes.Equal(got, b) {
		t.Errorf("Trimmed() = %d bytes, want %d", len(got), len(b))
	}
}

// TestUnhashed moves the last section away from the others: the bytes of the
// gap that firmware does not hash must be reported, and only those.
func TestUnhashed(t *testing.T) {
	img := sample(t, amd64)
	f, err := Parse(img)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Unhashed(); len(got) != 0 {
		t.Errorf("Unhashed() = %v, want none", got)
	}
	last := f.Sections[2]
	at := int(last.PointerToRawData)
	const gap = 4096
	moved := append(append(bytes.Clone(img[:at]), make([]byte, gap)...), img[at:]...)
	edit{int(f.sectionTable) + 2*sectionHeaderSize + 20, 4, uint64(at + gap)}.apply(moved)
	if f, err = Parse(moved); err != nil {
		t.Fatal(err)
	}
	before, err := f.Digest(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	covered := map[int]bool{}
	for i := range moved {
		if i >= at && i < at+gap {
			moved[i] ^= 1
			after, err := f.Digest(crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			covered[i] = !bytes.Equal(before, after)
			moved[i] ^= 1
		}
	}
	reported := map[int]bool{}
	for _, e := range f.Unhashed() {
		for i := e.Offset; i < e.End(); i++ {
			reported[int(i)] = true
		}
	}
	for i := at; i < at+gap; i++ {
		if covered[i] == reported[i] {
			t.Fatalf("byte 0x%x: hashed %v, reported as unhashed %v", i, covered[i], reported[i])
		}
	}
	if len(reported) == 0 {
		t.Error("Unhashed() = none for an image with a gap")
	}
}

func TestErrorsTellWhere(t *testing.T) {
	b := sample(t, amd64)
	_, err := Parse(b[:len(b)-1])
	if err == nil || !strings.Contains(err.Error(), `".linux"`) || !strings.Contains(err.Error(), fmt.Sprintf("file of 0x%x bytes", len(b)-1)) {
		t.Errorf("Parse(cut) = %v, want section name and file size", err)
	}
}
