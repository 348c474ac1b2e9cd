// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure/eventlog"
	"github.com/peelboot/peel/trust/esl"
)

// shimImage is Debian's shim with other lists built in (cert.S of shim), and of a version of four letters.
func shimImage(t *testing.T, allowed []byte, version string) []byte {
	t.Helper()
	b := testkit.ReadFile(t, testkit.UnsignedShim(t, "shimx64.efi"))
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := f.Find(".vendor_cert")
	if !ok || len(f.Data(s)) < 16+len(allowed) {
		t.Fatalf("no room for lists of %d bytes", len(allowed))
	}
	var lists []byte
	for _, n := range []int{len(allowed), 0, 16, 16} {
		lists = binary.LittleEndian.AppendUint32(lists, uint32(n))
	}
	copy(b[s.PointerToRawData:], append(lists, allowed...))
	const key = "$Version: "
	at := bytes.Index(b, []byte(key))
	if at < 0 || bytes.Count(b, []byte(key)) != 1 {
		t.Fatal("shim does not say its version, once")
	}
	copy(b[at+len(key):], version)
	return b
}

// TestShimAuthorities: what shim measures of the entries that let an image in.
func TestShimAuthorities(t *testing.T) {
	firmware, owner := testkit.NewKey(t, "in db"), testkit.NewKey(t, "of the owner")
	vendor, stranger := testkit.NewCA(t, "vendor"), testkit.NewKey(t, "of nobody")
	vendors := vendor.Issue(t, "vendor's signer")
	guid, err := esl.ParseGUID("5a1a7b7e-0c5b-4f7e-9d7d-6f0f3c1d2e4b")
	if err != nil {
		t.Fatal(err)
	}
	shimLock, err := esl.ParseGUID(esl.ShimLock)
	if err != nil {
		t.Fatal(err)
	}
	list := func(entries ...esl.Entry) []byte {
		b, err := esl.Marshal(entries)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cert := func(k *testkit.Key) esl.Entry { return esl.Entry{Type: esl.X509, Owner: guid, Data: k.Cert.Raw} }
	plain := sections(t, "257", ".linux", "no kernel", ".osrel", "ID=x")
	signed := func(keys ...*testkit.Key) []byte {
		path := testkit.WriteFile(t, "x.efi", plain)
		for _, k := range keys {
			path = testkit.Sign(t, k, path)
		}
		return testkit.ReadFile(t, path)
	}
	f, err := pe.Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := f.Digest(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	hash := esl.Entry{Type: esl.SHA256, Owner: guid, Data: digest}
	entry := func(e esl.Entry) string { return string(append(bytes.Clone(guid[:]), e.Data...)) }
	for _, tt := range []struct {
		name    string
		version string // of shim, 16.1 if empty
		builtIn []byte
		mok     []byte
		unknown bool // MokListRT
		image   []byte
		// names and contents of the measured variables
		want []string
		note string
	}{
		{name: "db", image: signed(firmware), want: []string{"db", entry(cert(firmware))}},
		{name: "owner", image: signed(owner), want: []string{"MokListRT", entry(cert(owner))}},
		{name: "owner, old", version: "15.6", image: signed(owner), want: []string{"MokList", entry(cert(owner))}},
		{name: "vendor", image: signed(vendors), want: []string{"MokListRT", string(append(make([]byte, 16), vendor.Cert.Raw...))}},
		{name: "vendor, MokListRT not known", unknown: true, image: signed(vendors), want: []string{"MokListRT", string(append(shimLock[:], vendor.Cert.Raw...))}},
		{name: "vendor, old", version: "15.6", image: signed(vendors), want: []string{"Shim", string(vendor.Cert.Raw)}},
		{name: "vendor, not in MokListRT", mok: list(cert(owner)), image: signed(vendors), want: []string{"Shim", string(vendor.Cert.Raw)}},
		{name: "vendor's list", builtIn: list(cert(stranger), cert(vendor)), mok: list(cert(owner), cert(stranger), cert(vendor)),
			image: signed(vendors), want: []string{"vendor_db", entry(cert(vendor))}},
		{name: "two signatures, old", version: "15.4", image: signed(owner, vendors), want: []string{"MokList", entry(cert(owner)), "Shim", string(vendor.Cert.Raw)}},
		{name: "the same twice", image: signed(owner, owner), want: []string{"MokListRT", entry(cert(owner))}},
		{name: "one of nobody", image: signed(stranger, firmware), want: []string{"db", entry(cert(firmware))}},
		{name: "digest", mok: list(cert(owner), hash), image: signed(owner), want: []string{"MokListRT", entry(hash)}},
		{name: "nobody", image: signed(stranger), note: ErrAuthority.Error()},
		{name: "unsigned", image: plain, note: ErrAuthority.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.builtIn == nil {
				tt.builtIn = vendor.Cert.Raw
			}
			if tt.version == "" {
				tt.version = "16.1"
			}
			if tt.mok == nil {
				tt.mok = list(cert(owner), esl.Entry{Type: esl.X509, Data: vendor.Cert.Raw})
			}
			shim := testkit.ReadFile(t, testkit.Sign(t, firmware, testkit.WriteFile(t, "shim.efi", shimImage(t, tt.builtIn, tt.version))))
			vars := map[string][]byte{"SecureBoot": {1}, "db": list(cert(firmware)), "MokListRT": tt.mok, "SbatLevelRT": []byte("sbat")}
			if tt.unknown {
				delete(vars, "MokListRT")
			}
			p, err := Predict("x.efi", tt.image, Options{
				Before: []File{{Name: "shimx64.efi", Data: shim}}, Banks: []eventlog.Hash{eventlog.SHA256}, Firmware: &Firmware{vars: vars},
			})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range p.Cases[0].Events {
				if e.PCR != PCRSecureBoot || e.Type != eventlog.EFIVariableAuthority {
					continue
				}
				v, ok := eventlog.ParseVariable(e.Data)
				if !ok {
					t.Fatalf("no variable: %x", e.Data)
				}
				got = append(got, v.Name, string(v.Data))
			}
			// shim itself, and the level that it measures.
			want := append([]string{"db", entry(cert(firmware)), "SbatLevel", "sbat"}, tt.want...)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("authorities (-want +got):\n%s", d)
			}
			if notes := strings.Join(p.Notes, "; "); !strings.Contains(notes, tt.note) {
				t.Errorf("notes %q, want %q", notes, tt.note)
			}
		})
	}
}
