// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/parser/stock"
)

// shape writes down what a payload is made of.
func shape(p *image.Payload) string {
	var b strings.Builder
	list := func(name string, parts []image.Part) {
		for _, p := range parts {
			fmt.Fprintf(&b, "%s=%s ", name, p.Data)
		}
	}
	list("ucode", p.Microcode)
	list("initrd", p.Initrds)
	fmt.Fprintf(&b, "cmdline=%s", p.Cmdline)
	if p.DTB != nil {
		fmt.Fprintf(&b, " dtb=%s", treeName(p.DTB.Data))
	}
	for _, o := range p.DTBOverlays {
		fmt.Fprintf(&b, " overlay=%s", treeName(o.Data))
	}
	return b.String()
}

// tree makes a device tree of one root node: with a compatible text it is a
// whole tree, without one an overlay.
func tree(compatible, name string) []byte {
	be := binary.BigEndian
	strs := "name\x00compatible\x00"
	var s []byte
	u32 := func(v uint32) { s = be.AppendUint32(s, v) }
	prop := func(off uint32, v string) {
		u32(3)
		u32(uint32(len(v)))
		u32(off)
		s = append(s, v...)
		for len(s)%4 != 0 {
			s = append(s, 0)
		}
	}
	u32(4) // a NOP in front, which readers must pass over
	u32(1)
	u32(0)
	prop(0, name+"\x00")
	if compatible != "" {
		prop(5, compatible+"\x00second,compatible\x00")
	}
	u32(2)
	u32(9)
	h := make([]byte, 56)
	for i, v := range []uint32{0xd00dfeed, uint32(56 + len(s) + len(strs)), 56, uint32(56 + len(s)), 40, 17, 16, 0, uint32(len(strs)), uint32(len(s))} {
		be.PutUint32(h[4*i:], v)
	}
	return append(append(h, s...), strs...)
}

// treeName is the name property that tree put there.
func treeName(b []byte) string {
	return strings.TrimRight(string(b[56+4+8+12:][:binary.BigEndian.Uint32(b[56+4+8+4:])]), "\x00")
}

// hwids makes a .hwids section of hardware id and compatible pairs.
func hwids(pairs ...any) []byte {
	var b, text []byte
	base := uint32(28*len(pairs)/2 + 4)
	for i := 0; i < len(pairs); i += 2 {
		id := pairs[i].([16]byte)
		e := le.AppendUint32(nil, 0x1000001c)
		e = append(e, id[:]...)
		e = le.AppendUint32(e, 0)
		e = le.AppendUint32(e, base+uint32(len(text)))
		b = append(b, e...)
		text = append(text, pairs[i+1].(string)+"\x00"...)
	}
	return append(append(b, 0, 0, 0, 0), text...)
}

func txt(name, s string) pe.NewSection { return section(name, []byte(s)) }

var linux = section(".linux", makeImage(4096))

// TestCompose: what boots, for base, profiles, addons and device trees, in the
// order and with the precedence of systemd-stub; both forms of the programs.
func TestCompose(t *testing.T) {
	id1, id2 := [16]byte{1}, [16]byte{2}
	uki := func(s ...pe.NewSection) []byte {
		return makeUKI(t, pe.Options{}, append([]pe.NewSection{linux}, s...)...)
	}
	profiles := uki(txt(".cmdline", "base"), txt(".initrd", "base rd"),
		txt(".profile", "ID=main\nTITLE=Main\n"),
		txt(".profile", "TITLE=Factory\nID=\"factory\"\n"), txt(".cmdline", "factory"),
		txt(".profile", "ID='last'"), txt(".cmdline", "last"), txt(".initrd", "last rd"), txt(".ucode", "last uc"))
	many := []pe.NewSection{txt(".initrd", "rd")}
	for i := range 40 {
		many = append(many, txt(fmt.Sprintf(".x%d", i), "x"))
	}
	many = append(many, txt(".cmdline", "behind forty sections"))
	trees := uki(section(".dtbauto", tree("vendor,a", "auto-a")), section(".dtbauto", tree("vendor,b", "auto-b")),
		section(".dtb", tree("vendor,x", "plain")), section(".hwids", hwids(id1, "vendor,a", id2, "vendor,b")))
	addon := func(s ...pe.NewSection) []byte { return makeUKI(t, pe.Options{}, s...) }
	full := uki(txt(".ucode", "uc"), txt(".initrd", "rd"), txt(".cmdline", "base\x00junk"), section(".dtb", tree("vendor,x", "plain")), txt(".uname", "6.1"))
	a1 := addon(txt(".cmdline", "one"), txt(".ucode", "uc1"), txt(".initrd", "rd1"), section(".dtb", tree("", "over1")), txt(".uname", "6.1"))
	a2 := addon(txt(".cmdline", "two\n"), txt(".ucode", "uc2"), txt(".initrd", "rd2"), section(".dtb", tree("", "over2")))
	a3 := addon(section(".dtb", tree("vendor,y", "whole")))

	for _, c := range []struct {
		name string
		img  []byte
		o    Options
		want string
		err  error
	}{
		{name: "only linux", img: uki(), want: "cmdline="},
		{name: "default profile", img: profiles, want: "initrd=base rd cmdline=base"},
		{name: "profile 0", img: profiles, o: Options{Profile: "0"}, want: "initrd=base rd cmdline=base"},
		{name: "profile 1", img: profiles, o: Options{Profile: "1"}, want: "initrd=base rd cmdline=factory"},
		{name: "profile by id", img: profiles, o: Options{Profile: "factory"}, want: "initrd=base rd cmdline=factory"},
		{name: "profile by id in single quotes", img: profiles, o: Options{Profile: "last"}, want: "ucode=last uc initrd=last rd cmdline=last"},
		{name: "no such number", img: profiles, o: Options{Profile: "3"}, err: ErrBroken},
		{name: "no such id", img: profiles, o: Options{Profile: "fact"}, err: ErrBroken},
		{name: "longer id", img: profiles, o: Options{Profile: "factory2"}, err: ErrBroken},
		{name: "profile 0 without profiles", img: uki(txt(".cmdline", "x")), o: Options{Profile: "0"}, want: "cmdline=x"},
		{name: "profile 1 without profiles", img: uki(), o: Options{Profile: "1"}, err: ErrBroken},
		{name: "forty sections", img: makeUKI(t, pe.Options{}, append(many, linux)...), want: "initrd=rd cmdline=behind forty sections"},
		{name: "control characters", img: uki(txt(".cmdline", "\ta\nb \n\x00")), want: "cmdline=a b"},
		{name: "two initrds", img: uki(txt(".initrd", "1"), txt(".initrd", "2")), err: ErrBroken},
		{name: "two kernels", img: uki(section(".linux", makeImage(64))), err: ErrBroken},
		{name: "duplicate in another profile", img: uki(txt(".profile", "ID=a"), txt(".profile", "ID=b"), txt(".cmdline", "1"), txt(".cmdline", "2")), err: ErrBroken},

		{name: "no tree fits", img: trees, want: "cmdline= dtb=plain"},
		{name: "by the firmware's tree", img: trees, o: Options{Compatible: "vendor,b"}, want: "cmdline= dtb=auto-b"},
		{name: "by hardware id", img: trees, o: Options{HWIDs: [][16]byte{{9}, id2, id1}}, want: "cmdline= dtb=auto-b"},
		{name: "most specific id first", img: trees, o: Options{HWIDs: [][16]byte{id1, id2}}, want: "cmdline= dtb=auto-a"},
		{name: "prefix of a compatible", img: trees, o: Options{Compatible: "vendor"}, want: "cmdline= dtb=plain"},
		{name: "broken hwids", img: uki(txt(".hwids", "\x1c\x00\x00\x10 too short")), o: Options{HWIDs: [][16]byte{id1}}, err: ErrBroken},

		{name: "addons", img: full, o: Options{Addons: []Addon{{"a1", a1}, {"a2", a2}}},
			want: "ucode=uc2 ucode=uc1 ucode=uc initrd=rd initrd=rd1 initrd=rd2 cmdline=base one two dtb=plain overlay=over1 overlay=over2"},
		{name: "addon with a whole tree", img: full, o: Options{Addons: []Addon{{"a1", a1}, {"a3", a3}}},
			want: "ucode=uc1 ucode=uc initrd=rd initrd=rd1 cmdline=base one dtb=whole"},
		{name: "addon with a kernel", img: full, o: Options{Addons: []Addon{{"u", full}}}, err: ErrBroken},
		{name: "addon that is no PE", img: full, o: Options{Addons: []Addon{{"x", []byte("text")}}}, err: ErrBroken},
		{name: "addon of another release", img: full, o: Options{Addons: []Addon{{"x", addon(txt(".cmdline", "x"), txt(".uname", "6.2"))}}}, err: ErrBroken},
		{name: "addon of another machine", img: full, o: Options{Addons: []Addon{{"x", makeUKI(t, pe.Options{Machine: 0xaa64}, txt(".cmdline", "x"))}}}, err: ErrBroken},
		{name: "empty addon", img: full, o: Options{Addons: []Addon{{"x", addon(txt(".sbat", "x"))}}}, err: ErrBroken},
		{name: "addon for a plain kernel", img: makeImage(4096), o: Options{Addons: []Addon{{"a1", a1}}}, err: ErrAddons},
	} {
		for form, programs := range forms() {
			o := c.o
			o.Stock = programs
			p, err := Decompose(context.Background(), c.img, o)
			switch {
			case c.err != nil:
				if !errors.Is(err, c.err) {
					t.Errorf("%s (%s): %v, want %v", c.name, form, err, c.err)
				}
			case err != nil:
				t.Errorf("%s (%s): %v", c.name, form, err)
			default:
				if got := shape(p); got != c.want {
					t.Errorf("%s (%s): %s, want %s", c.name, form, got, c.want)
				}
			}
		}
	}
}

// TestExtra: what does not boot but belongs to the image.
func TestExtra(t *testing.T) {
	img := makeUKI(t, pe.Options{}, txt(".osrel", "ID=x"), txt(".uname", "6.1"), txt(".sbat", "sbat,1"), txt(".pcrsig", "{}"),
		txt(".pcrpkey", "key"), txt(".splash", "BM"), linux, txt(".profile", "ID=a"), txt(".uname", "6.2"))
	r, err := Run(context.Background(), img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{".osrel": "ID=x", ".uname": "6.2", ".sbat": "sbat,1", ".pcrsig": "{}", ".pcrpkey": "key", ".splash": "BM", ".profile": "ID=a"} {
		if p, ok := r.Part(name); !ok || string(p.Data) != want {
			t.Errorf("Part(%s) = %q, %v, want %q", name, p.Data, ok, want)
		}
	}
}

// TestEnvelopes: the three forms of data envelopes, with and without a
// verifier that wants to be asked.
func TestEnvelopes(t *testing.T) {
	kernel := makeImage(4096)
	uki := makeUKI(t, pe.Options{}, txt(".cmdline", "base"), linux)
	add := makeUKI(t, pe.Options{}, txt(".cmdline", "added"))
	parts := []elfSection{{name: ".kernel", data: kernel}, {name: ".initrd", data: []byte("rd")}, {name: ".cmdline", data: []byte("quiet\x00")}}
	ukis := []elfSection{{name: ".uki", data: uki}, {name: ".addon", data: add}}
	pes := []elfSection{{name: ".pe.1", data: uki}, {name: ".ima", data: []byte("\x03sig1")}, {name: ".pe.2", data: add}, {name: ".ima", data: []byte("\x03sig2")}}
	for _, c := range []struct {
		name         string
		sections     []elfSection
		mode         SigMode
		want         string
		images, imas int
	}{
		{name: "parts", sections: parts, want: "initrd=rd cmdline=quiet"},
		{name: "parts verified", sections: parts, mode: SigPE, want: "initrd=rd cmdline=quiet", images: 1},
		{name: "uki", sections: ukis, want: "cmdline=base added"},
		{name: "uki verified", sections: ukis, mode: SigPE, want: "cmdline=base added", images: 2},
		{name: "pe", sections: pes, want: "cmdline=base added"},
		{name: "pe verified", sections: pes, mode: SigPE, want: "cmdline=base added", images: 2},
		{name: "pe by ima", sections: pes, mode: SigIMA, want: "cmdline=base added", imas: 2},
	} {
		v := &verifier{mode: c.mode}
		p, err := Decompose(context.Background(), writeELF(c.sections), Options{Verifier: v})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := shape(p); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if v.images != c.images || v.imas != c.imas {
			t.Errorf("%s: asked %d times for images and %d for IMA, want %d and %d", c.name, v.images, v.imas, c.images, c.imas)
		}
	}
	for name, s := range map[string][]elfSection{
		"two kernels":     append(parts, elfSection{name: ".kernel", data: kernel}),
		"mixed":           append(parts, ukis...),
		"empty kernel":    {{name: ".kernel"}},
		"addon but no pe": {{name: ".addon", data: add}},
	} {
		if _, err := Decompose(context.Background(), writeELF(s), Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestChainEnds: kernels that are compressed as a whole, and the deepest nest.
func TestChainEnds(t *testing.T) {
	if got, want := len(stock.Names()), len(stock.Objects()); got != want {
		t.Fatalf("%d names, %d objects", got, want)
	}
	kernel := makeImage(5000)
	if p, err := Decompose(context.Background(), gzipped(t, kernel), Options{Name: "Image.gz"}); err != nil || len(p.Kernel.Data) != 5000 || p.Kernel.Origin != "Image.gz/payload" {
		t.Errorf("Image.gz: %v", err)
	}
	// Five layers are taken apart, the sixth is too many.
	img := kernel
	for n := 1; n <= 7; n++ {
		img = makeZboot(gzipped(t, img), "gzip")
		_, err := Decompose(context.Background(), img, Options{})
		if (err == nil) != (n <= 5) || err != nil && !errors.Is(err, ErrLimit) {
			t.Errorf("%d layers: %v", n, err)
		}
	}
}

// TestSeriesOnly: the same objects on a host without the extension, as in a
// kernel that knows only the series: they copy, and give up rather than leave
// out what that ABI has no word for.
func TestSeriesOnly(t *testing.T) {
	uki := func(s ...pe.NewSection) []byte {
		return makeUKI(t, pe.Options{}, append([]pe.NewSection{linux}, s...)...)
	}
	for _, c := range []struct {
		name string
		img  []byte
		want string
		err  error
	}{
		{name: "parts", img: uki(txt(".initrd", "rd"), txt(".cmdline", "quiet"), txt(".osrel", "ID=x")), want: "initrd=rd cmdline=quiet"},
		{name: "microcode goes in front", img: uki(txt(".initrd", "rd"), txt(".ucode", "ucode")), want: "initrd=ucode\x00\x00\x00rd\x00\x00 cmdline="},
		{name: "profile", img: uki(txt(".cmdline", "base"), txt(".profile", "ID=a"), txt(".cmdline", "a")), want: "cmdline=a"},
		{name: "zboot", img: makeZboot(gzipped(t, makeImage(5000)), "gzip"), want: "cmdline="},
		{name: "nested", img: makeUKI(t, pe.Options{}, section(".linux", makeZboot(gzipped(t, makeImage(5000)), "gzip")), txt(".initrd", "rd")), want: "initrd=rd cmdline="},
		{name: "envelope", img: writeELF([]elfSection{{name: ".kernel", data: makeImage(64)}, {name: ".initrd", data: []byte("rd")}}), want: "initrd=rd\x00\x00 cmdline="},
		{name: "device tree", img: uki(section(".dtb", tree("a,b", "t"))), err: ErrNoParser},
		{name: "envelope with addon", img: writeELF([]elfSection{{name: ".uki", data: uki()}, {name: ".addon", data: uki()}}), err: ErrNoParser},
		{name: "broken", img: uki(txt(".initrd", "1"), txt(".initrd", "2")), err: ErrNoParser},
	} {
		for form, programs := range forms() {
			copies := 0
			p, err := Decompose(context.Background(), c.img, Options{Stock: programs, seriesOnly: true, Trace: func(c Command) {
				if c.Ref != nil || c.Op >= OpRef || c.Sub > SubCmdline {
					t.Errorf("%s: %s on a host that knows only the series", form, c)
				}
				copies++
			}})
			switch {
			case c.err != nil:
				if !errors.Is(err, c.err) {
					t.Errorf("%s (%s): %v, want %v", c.name, form, err, c.err)
				}
			case err != nil:
				t.Errorf("%s (%s): %v", c.name, form, err)
			default:
				if got := strings.ReplaceAll(shape(p), "rd\x00\x00", "rd"); got != strings.ReplaceAll(c.want, "rd\x00\x00", "rd") {
					t.Errorf("%s (%s): %q, want %q", c.name, form, got, c.want)
				}
			}
		}
	}
}

// A kernel that a program took out of an addon comes from outside, and so does
// what is inside it; the next layer took it for the image's own.
func TestKernelOfAddonIsOutside(t *testing.T) {
	for _, outside := range []bool{false, true} {
		s := &state{}
		l := &layer{origin: "image", image: []byte("image")}
		l.add(part{name: "image", data: l.image})
		l.add(part{name: "x.addon.efi", data: []byte("kernel"), outside: true})
		from := l.owners[0]
		if outside {
			from = l.owners[1]
		}
		r := &run{ctx: context.Background(), d: &decomposition{state: s, limits: Limits{}.withDefaults(100)}, layer: l, state: s, buffers: l.buffers}
		if err := r.store(message{sub: SubKernel}, []byte("kernel"), partName(SubKernel), from); err != nil {
			t.Fatal(err)
		}
		if got := r.d.next(l, r).owners[0]; got.outside != outside || got.path != from.path+"/.linux" {
			t.Errorf("owner of the next layer = %+v, want %s/.linux, outside %v", got, from.path, outside)
		}
	}
}
