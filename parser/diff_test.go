// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
)

// oneLayer runs the stock programs on a single layer.
func oneLayer(ctx context.Context, data []byte, o Options) (*state, string, error) {
	d := &decomposition{opts: o, limits: o.Limits.withDefaults(uint64(len(data))), state: &state{}, opened: map[*byte]*object{}}
	d.opts.Name = "image"
	d.copies, d.output = d.limits.Copies, d.limits.Output
	if err := d.prepare(ctx); err != nil {
		return nil, "", err
	}
	l := &layer{origin: "image", image: data}
	l.add(part{name: l.origin, data: data})
	r, _, err := d.peel(ctx, l)
	if err != nil {
		return nil, "", err
	}
	return r.state, r.program, nil
}

// want is what the independent reader in image/ says a UKI is made of, or an
// error.
func want(data []byte, profile string) (string, error) {
	f, err := pe.Parse(data)
	if err != nil {
		return "", err
	}
	img, err := uki.Read(f)
	if err != nil {
		return "", err
	}
	if img.Addon {
		return "", uki.ErrNotUKI
	}
	n := 0
	if profile != "" {
		if n, err = strconv.Atoi(profile); err != nil {
			if n, err = img.ProfileByID(profile); err != nil {
				return "", err
			}
		}
	}
	sel, err := img.Select(n)
	if err != nil {
		return "", err
	}
	part := func(name string) []byte {
		s, _ := sel.Find(name)
		return s.Data
	}
	if len(part(uki.Linux)) == 0 {
		return "", uki.ErrNotUKI
	}
	return describe(part(uki.Linux), part(uki.Initrd), part(uki.Cmdline), part(uki.Ucode), part(uki.DTB), part(uki.Uname), part(uki.OSRel), part(uki.SBAT)), nil
}

func describe(parts ...[]byte) string {
	s := ""
	for _, p := range parts {
		s += fmt.Sprintf("%d:%s ", len(p), sum(p)[:12])
	}
	return s
}

// got is what the program says.
func got(s *state) string {
	one := func(list []image.Part) []byte {
		if len(list) == 0 {
			return nil
		}
		return list[0].Data
	}
	extra := func(name string) []byte {
		for _, p := range s.extra {
			if p.Name == name {
				return p.Data
			}
		}
		return nil
	}
	var dtb []byte
	if s.dtb != nil {
		dtb = s.dtb.Data
	}
	return describe(s.kernel, one(s.initrds), one(s.cmdlines), one(s.ucode), dtb, extra(".uname"), extra(".osrel"), extra(".sbat"))
}

// agree compares program and reader: the same parts, or both refuse.
func agree(t testing.TB, data []byte, profile string) {
	t.Helper()
	ctx := context.Background()
	if z, err := zboot.Parse(data); err == nil || zboot.Is(data) {
		// The payload itself may not decompress; what counts is the range.
		var at *Ref
		_, _, perr := oneLayer(ctx, data, Options{Limits: Limits{Kernel: 8 << 20}, Trace: func(c Command) {
			if c.Op == OpDecompress|OpRef {
				at = c.Ref
			}
		}})
		switch {
		case err != nil && at != nil && perr == nil:
			t.Errorf("reader: %v; program: payload %+v", err, *at)
		case err == nil && at == nil && !uki.IsUKI(parsed(data)):
			t.Errorf("reader: payload 0x%x+0x%x; program: %v", z.PayloadOffset, z.PayloadSize, perr)
		case err == nil && at != nil && (at.Offset != uint64(z.PayloadOffset) || at.Length != uint64(z.PayloadSize)):
			t.Errorf("reader: payload 0x%x+0x%x; program: %+v", z.PayloadOffset, z.PayloadSize, *at)
		}
		return
	}
	w, werr := want(data, profile)
	s, program, gerr := oneLayer(ctx, data, Options{Profile: profile})
	if gerr == nil && program != "parse_uki" {
		// Another format; the reader must not think that it is a UKI.
		if werr == nil {
			t.Errorf("reader: %s; program: %s took it", w, program)
		}
		return
	}
	switch {
	case (werr == nil) != (gerr == nil):
		t.Errorf("reader: %v; program: %v", werr, gerr)
	case werr == nil && got(s) != w:
		t.Errorf("reader: %s; program: %s", w, got(s))
	}
}

// parsed is a PE file without sections where data is none.
func parsed(data []byte) *pe.File {
	f, err := pe.Parse(data)
	if err != nil {
		return &pe.File{}
	}
	return f
}

// corpus is every kind of image that the comparison starts from.
func corpus(t testing.TB) [][]byte {
	t.Helper()
	profiles := makeUKI(t, pe.Options{}, linux, txt(".cmdline", "base"), txt(".initrd", "rd"), txt(".osrel", "ID=x"), txt(".uname", "6.1"), txt(".sbat", "sbat"),
		txt(".profile", "ID=main"), txt(".profile", "ID=two"), txt(".cmdline", "two"), txt(".ucode", "uc"), section(".dtb", tree("a,b", "t")))
	return [][]byte{
		profiles,
		makeUKI(t, pe.Options{PE32: true, FileAlignment: 32, SectionAlignment: 4096}, linux, txt(".cmdline", "quiet\x00")),
		makeUKI(t, pe.Options{}, pe.NewSection{Name: ".linux", Data: [][]byte{makeImage(4096)}, VirtualSize: 9000}, txt(".initrd", "rd")),
		makeUKI(t, pe.Options{}, txt(".cmdline", "an addon")),
		makeZboot(gzipped(t, makeImage(5000)), "gzip"),
	}
}

// TestDifferentialReal compares program and reader on real images.
func TestDifferentialReal(t *testing.T) {
	for _, objcopy := range []bool{false, true} {
		agree(t, testkit.ReadFile(t, testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "quiet", Objcopy: objcopy})), "")
	}
	for _, z := range zboots {
		agree(t, testkit.ReadFile(t, zbootData+z.file), "")
	}
	for _, name := range []string{"6.12", "6.1"} {
		agree(t, testkit.ReadFile(t, testkit.Kernel(t, "amd64", name)), "")
	}
	agree(t, testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie")), "")
	agree(t, testkit.ReadFile(t, testkit.SystemdBoot(t, "amd64", "trixie")), "")
}

// TestDifferentialMutated compares them on images with changed headers: each
// byte of every header set to a few values, and random changes.
func TestDifferentialMutated(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i, img := range corpus(t) {
		for _, profile := range []string{"", "1", "two"} {
			agree(t, img, profile)
		}
		headers := min(len(img), 0x300)
		for n := range 1500 {
			b := bytes.Clone(img)
			switch n % 4 {
			case 0:
				b[rng.IntN(headers)] = []byte{0, 1, 0x7f, 0x80, 0xff}[rng.IntN(5)]
			case 1:
				le.PutUint32(b[rng.IntN(headers/4)*4:], []uint32{0, 1, 0x1000, 0x7fffffff, 0x80000000, 0xffffffff, uint32(len(b))}[rng.IntN(7)])
			case 2:
				copy(b[rng.IntN(headers):], []string{".linux\x00\x00", ".cmdline", ".profile", ".initrd\x00"}[rng.IntN(4)])
			case 3:
				b = b[:rng.IntN(len(b))]
			}
			if agree(t, b, []string{"", "1", "two"}[rng.IntN(3)]); t.Failed() {
				t.Fatalf("image %d, change %d", i, n)
			}
		}
	}
}

// TestSkeletonEqualsObject: both forms give the same on all of the corpus.
func TestSkeletonEqualsObject(t *testing.T) {
	for i, img := range corpus(t) {
		var results []string
		for _, form := range []string{"object", "skeleton"} {
			p, err := Decompose(context.Background(), img, Options{Stock: forms()[form]})
			if err != nil {
				results = append(results, err.Error())
				continue
			}
			results = append(results, shape(p)+sum(p.Kernel.Data))
		}
		if results[0] != results[1] {
			t.Errorf("image %d: object %s, skeleton %s", i, results[0], results[1])
		}
	}
}
