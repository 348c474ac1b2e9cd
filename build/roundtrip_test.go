// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"slices"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
)

// everything is a UKI with every section that the specification has, with a
// further one, and with profiles that have all that profiles may have.
func everything(t testing.TB) *UKI {
	t.Helper()
	u := spec(t)
	firmware := func(id string) Content {
		b, err := Firmware(id, []byte("code of "+id))
		if err != nil {
			t.Fatal(err)
		}
		return Bytes(b)
	}
	hwids := func(name string) Content {
		b, err := HWIDs([]uki.HWID{{Type: uki.HWIDDeviceTree, CHID: [16]byte{1, 2, 3}, Name: name, Compatible: "peel," + name}, {Type: uki.HWIDFirmware, CHID: [16]byte{4}, Name: name, Compatible: "a.fw"}})
		if err != nil {
			t.Fatal(err)
		}
		return Bytes(b)
	}
	u.Initrds = []Content{Text("first initrd, odd"), Text("second")}
	u.Microcode = []Content{Text("micro"), Text("code")}
	u.DTB, u.DTBAuto, u.HWIDs = Text("tree"), []Content{Text("tree a"), Text("tree b")}, hwids("base")
	u.EFIFW = []Content{firmware("a.fw"), firmware("b.fw")}
	u.PCRSig = Text("{}")
	u.SBAT = []Content{Text("sbat,1,SBAT Version,sbat,1,https://x\nlinux.peel,1,peel,linux,1,https://example.org\n")}
	u.Sections = []NamedContent{{".custom", Text("custom contents")}}
	u.Profile = Text("ID=base\nTITLE=Base")
	addon := File(testkit.AddonStub(t, "amd64", "trixie"))
	for _, p := range []*UKI{
		{Profile: Text("ID=one"), Cmdline: Text("one")},
		{Profile: Text("ID=two"), Cmdline: Text("two"), OSRelease: Text("ID=two"), Uname: Text("2"), Initrds: []Content{Text("of two")}, Microcode: []Content{Text("of two")},
			DTB: Text("of two"), DTBAuto: []Content{Text("c"), Text("d")}, HWIDs: hwids("two"), Splash: Text("BM two"), EFIFW: []Content{firmware("c.fw")}, PCRPKey: Text("key of two")},
		{Profile: Text("ID=three")},
	} {
		p.Stub = addon
		u.JoinProfiles = append(u.JoinProfiles, File(write(t, p)))
	}
	return u
}

// describeParts turns the sections of an image, or of one profile, into the
// description of it.
func describeParts(t testing.TB, parts []NamedContent) *UKI {
	t.Helper()
	v := &UKI{}
	one := map[string]*Content{uki.Linux: &v.Linux, uki.OSRel: &v.OSRelease, uki.Cmdline: &v.Cmdline, uki.Uname: &v.Uname, uki.Splash: &v.Splash,
		uki.DTB: &v.DTB, uki.HWIDs: &v.HWIDs, uki.PCRPKey: &v.PCRPKey, uki.PCRSig: &v.PCRSig, uki.ProfileS: &v.Profile}
	many := map[string]*[]Content{uki.Initrd: &v.Initrds, uki.Ucode: &v.Microcode, uki.DTBAuto: &v.DTBAuto, uki.EFIFW: &v.EFIFW, uki.SBAT: &v.SBAT}
	for _, p := range parts {
		switch {
		case one[p.Name] != nil:
			*one[p.Name] = p.Content
		case many[p.Name] != nil:
			*many[p.Name] = append(*many[p.Name], p.Content)
		default:
			v.Sections = append(v.Sections, p)
		}
	}
	return v
}

// splitParts returns the sections behind the stub, of the base with its own
// .profile and of each further profile.
func splitParts(f *pe.File, base bool) (parts [][]NamedContent) {
	parts = [][]NamedContent{nil}
	for _, s := range f.Sections {
		if _, ok := uki.RuleFor(s.Name); !ok && s.Name != ".custom" {
			continue
		}
		last := len(parts) - 1
		has := slices.ContainsFunc(parts[last], func(n NamedContent) bool { return n.Name == uki.ProfileS })
		if s.Name == uki.ProfileS && (has || !base) {
			parts, last = append(parts, nil), last+1
		}
		parts[last] = append(parts[last], NamedContent{s.Name, Bytes(f.Data(s))})
	}
	return parts
}

// What is taken out of an image is what went in, and builds the same image
// again.
func TestRoundTrip(t *testing.T) {
	for name, u := range map[string]*UKI{"plain": spec(t), "everything": everything(t)} {
		first := write(t, u)
		parts := splitParts(parsePE(t, first), true)
		v := describeParts(t, parts[0])
		v.Stub = u.Stub
		for _, c := range []struct {
			what      string
			want, got []Content
		}{
			{"kernel", []Content{u.Linux}, []Content{v.Linux}}, {"command line", []Content{u.Cmdline}, []Content{v.Cmdline}},
			{"os-release", []Content{u.OSRelease}, []Content{v.OSRelease}}, {"uname", []Content{u.Uname}, []Content{v.Uname}},
			{"splash", []Content{u.Splash}, []Content{v.Splash}}, {"device tree", []Content{u.DTB}, []Content{v.DTB}},
			{"device trees", u.DTBAuto, v.DTBAuto}, {"hardware IDs", []Content{u.HWIDs}, []Content{v.HWIDs}}, {"firmware", u.EFIFW, v.EFIFW},
			{"key", []Content{u.PCRPKey}, []Content{v.PCRPKey}}, {"signatures", []Content{u.PCRSig}, []Content{v.PCRSig}}, {"profile", []Content{u.Profile}, []Content{v.Profile}},
		} {
			if len(c.want) != len(c.got) {
				t.Errorf("%s: %d of %s, want %d", name, len(c.got), c.what, len(c.want))
				continue
			}
			for i := range c.want {
				var in inputs
				want, err := in.bytes(c.want[i], MaxFile)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(c.got[i].data, want) {
					t.Errorf("%s: %s = %.80q, want %.80q", name, c.what, c.got[i].data, want)
				}
				if err := in.close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, p := range parts[1:] {
			w := describeParts(t, p)
			w.Stub = File(testkit.AddonStub(t, "amd64", "trixie"))
			v.JoinProfiles = append(v.JoinProfiles, File(write(t, w)))
		}
		if len(v.JoinProfiles) != len(u.JoinProfiles) {
			t.Errorf("%s: %d profiles, want %d", name, len(v.JoinProfiles), len(u.JoinProfiles))
		}
		if !bytes.Equal(testkit.ReadFile(t, write(t, v)), testkit.ReadFile(t, first)) {
			t.Errorf("%s: the parts of an image gave another image", name)
		}
	}
}

// Addons and the images of profiles give themselves again as well.
func TestRoundTripAddon(t *testing.T) {
	stub := File(testkit.AddonStub(t, "amd64", "trixie"))
	for name, u := range map[string]*UKI{
		"addon": {Cmdline: Text("debug"), DTB: Text("tree"), Initrds: []Content{Text("initrd")}, Microcode: []Content{Text("ucode")}, Uname: Text("1.2"),
			SBAT: []Content{Text("sbat,1,SBAT Version,sbat,1,https://x\nme,1,Me,me,1,https://y\n")}},
		"profile": {Profile: Text("ID=x"), Cmdline: Text("x")},
	} {
		u.Stub = stub
		first := write(t, u)
		parts := splitParts(parsePE(t, first), u.Profile.IsSet())
		v := describeParts(t, parts[0])
		v.Stub = stub
		if !u.Profile.IsSet() != (len(v.SBAT) == 1) {
			t.Errorf("%s: %d sections .sbat", name, len(v.SBAT))
		}
		if !bytes.Equal(testkit.ReadFile(t, write(t, v)), testkit.ReadFile(t, first)) {
			t.Errorf("%s: the parts gave another image", name)
		}
	}
}
