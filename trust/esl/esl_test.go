// SPDX-License-Identifier: Apache-2.0

package esl_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/esl"
)

const owner = "605dab50-e046-4300-abb6-3dd810dd8b23"

func guid(t testing.TB) esl.GUID {
	t.Helper()
	g, err := esl.ParseGUID(owner)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// all holds an entry of each type that can be told by its GUID.
func all(t testing.TB) []esl.Entry {
	g := guid(t)
	revoked := time.Date(2025, 2, 3, 4, 5, 6, 0, time.UTC)
	return []esl.Entry{
		{Type: esl.X509, Owner: g, Data: []byte("a certificate")},
		{Type: esl.SHA1, Owner: g, Data: make([]byte, 20)},
		{Type: esl.SHA224, Owner: g, Data: make([]byte, 28)},
		{Type: esl.SHA256, Owner: g, Data: bytes.Repeat([]byte{1}, 32)},
		{Type: esl.SHA384, Owner: g, Data: make([]byte, 48)},
		{Type: esl.SHA512, Owner: g, Data: make([]byte, 64)},
		{Type: esl.X509SHA256, Owner: g, Data: make([]byte, 32), Revoked: revoked},
		{Type: esl.X509SHA384, Owner: g, Data: make([]byte, 48)},
		{Type: esl.X509SHA512, Owner: g, Data: make([]byte, 64), Revoked: revoked},
		{Type: esl.RSA2048, Owner: g, Data: make([]byte, 256)},
		{Type: esl.PKCS7, Owner: g, Data: []byte("x")},
		{Type: esl.Unknown, TypeGUID: esl.GUID{1, 2, 3}, Owner: g, Data: []byte("?")},
	}
}

func TestRoundTrip(t *testing.T) {
	want := all(t)
	b, err := esl.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := esl.Parse(b)
	if err != nil || len(got) != len(want) {
		t.Fatalf("Parse(Marshal()) = %d entries, %v, want %d", len(got), err, len(want))
	}
	for i := range got {
		if got[i].Type != want[i].Type || got[i].Owner != want[i].Owner || !bytes.Equal(got[i].Data, want[i].Data) || !got[i].Revoked.Equal(want[i].Revoked) {
			t.Errorf("Parse(Marshal())[%d] = %+v, want %+v", i, got[i], want[i])
		}
	}
}

// efitools writes what we read: certificates, hashes and signed updates.
func TestTools(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	dir := t.TempDir()
	list := filepath.Join(dir, "cert.esl")
	testkit.Run(t, "", "cert-to-efi-sig-list", "-g", owner, k.CertPEM, list)
	b := testkit.ReadFile(t, list)
	got, err := esl.Parse(b)
	if err != nil || len(got) != 1 || got[0].Type != esl.X509 || got[0].Owner.String() != owner || !bytes.Equal(got[0].Data, k.Cert.Raw) {
		t.Errorf("Parse(cert-to-efi-sig-list) = %+v, %v, want the certificate", got, err)
	}
	again, err := esl.Marshal(got)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("Marshal(Parse(cert-to-efi-sig-list)) differs, %v", err)
	}

	auth := filepath.Join(dir, "db.auth")
	testkit.Run(t, "", "sign-efi-sig-list", "-t", "2026-01-02 03:04:05", "-k", k.KeyPEM, "-c", k.CertPEM, "db", list, auth)
	u, err := esl.ParseAuth(testkit.ReadFile(t, auth))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(u.Contents, b) || len(u.CMS) == 0 || u.Time.Year() != 2026 {
		t.Errorf("ParseAuth() = %v, %d bytes of CMS, contents %x, want 2026 and the list", u.Time, len(u.CMS), u.Contents)
	}
}

func TestParseMalformed(t *testing.T) {
	sum := sha256.Sum256(nil)
	good, err := esl.Marshal([]esl.Entry{{Type: esl.SHA256, Data: sum[:]}})
	if err != nil {
		t.Fatal(err)
	}
	edit := func(i int, b byte) []byte {
		out := append([]byte(nil), good...)
		out[i] = b
		return out
	}
	tbs, err := esl.Marshal([]esl.Entry{{Type: esl.X509SHA256, Data: sum[:], Revoked: time.Unix(1e9, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	badTime := append([]byte(nil), tbs...)
	badTime[28+16+32+2] = 13 // month
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, nil},
		{"good", good, nil},
		{"header cut", good[:20], esl.ErrTruncated},
		{"list cut", good[:len(good)-1], esl.ErrTruncated},
		{"rest of a header", append(good[:len(good):len(good)], 0), esl.ErrTruncated},
		{"list size below the header", edit(16, 8), esl.ErrSyntax},
		{"header size beyond the list", edit(20, 200), esl.ErrSyntax},
		{"header size near 4 GiB", edit(23, 255), esl.ErrSyntax},
		{"signature size 0", edit(24, 0), esl.ErrSyntax},
		{"signature size below an owner", edit(24, 12), esl.ErrSyntax},
		{"sizes that do not divide", edit(24, 47), esl.ErrSyntax},
		{"hash of the wrong size", edit(24, 24), esl.ErrSyntax},
		{"month 13", badTime, esl.ErrSyntax},
		{"too large", make([]byte, esl.MaxSize+1), esl.ErrLimit},
	} {
		if _, err := esl.Parse(c.b); !errors.Is(err, c.want) {
			t.Errorf("Parse(%s) = %v, want %v", c.name, err, c.want)
		}
	}
	for _, c := range []struct {
		name string
		b    []byte
	}{{"empty", nil}, {"a list", good}} {
		if _, err := esl.ParseAuth(c.b); !errors.Is(err, esl.ErrSyntax) {
			t.Errorf("ParseAuth(%s) = %v, want ErrSyntax", c.name, err)
		}
	}
	if _, err := esl.ParseVariable([]byte{1, 2, 3}); !errors.Is(err, esl.ErrTruncated) {
		t.Errorf("ParseVariable(3 bytes) = %v, want ErrTruncated", err)
	}
}

// Signature lists whose entries differ in size, several entries a list and a
// signature header are legal.
func TestParseHeaderAndSeveral(t *testing.T) {
	sum := sha256.Sum256([]byte("a"))
	one, err := esl.Marshal([]esl.Entry{{Type: esl.SHA256, Owner: guid(t), Data: sum[:]}})
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte(nil), one[:28]...)
	b[16] = 28 + 5 + 2*48
	b[20] = 5
	b = append(b, "12345"...)
	b = append(b, one[28:]...)
	b = append(b, one[28:]...)
	got, err := esl.Parse(b)
	if err != nil || len(got) != 2 || got[1].Offset != 28+5+48 || !bytes.Equal(got[1].Data, sum[:]) {
		t.Errorf("Parse() = %+v, %v, want two entries after the header", got, err)
	}
}

func TestGUID(t *testing.T) {
	g := guid(t)
	if g.String() != owner || g[0] != 0x50 || g[15] != 0x23 {
		t.Errorf("ParseGUID(%s) = %x", owner, g)
	}
	for _, s := range []string{"", "605dab50", "605dab50-e046-4300-abb6-3dd810dd8b2x", "605dab50xe046-4300-abb6-3dd810dd8b23"} {
		if _, err := esl.ParseGUID(s); !errors.Is(err, esl.ErrSyntax) {
			t.Errorf("ParseGUID(%q) = %v, want ErrSyntax", s, err)
		}
	}
}

func FuzzESL(f *testing.F) {
	b, err := esl.Marshal(all(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Add(append(make([]byte, 40), b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if esl.IsAuth(b) {
			if u, err := esl.ParseAuth(b); err == nil {
				b = u.Contents
			}
		}
		got, err := esl.Parse(b)
		if err != nil {
			return
		}
		again, err := esl.Marshal(got)
		if err != nil {
			t.Fatalf("Marshal(Parse()) = %v", err)
		}
		second, err := esl.Parse(again)
		if err != nil || len(second) != len(got) {
			t.Fatalf("Parse(Marshal(Parse())) = %d entries, %v, want %d", len(second), err, len(got))
		}
		for i := range got {
			got[i].Offset, second[i].Offset = 0, 0
		}
		if d := cmp.Diff(got, second); d != "" {
			t.Errorf("Parse(Marshal(Parse())) mismatch (-first +second):\n%s", d)
		}
	})
}
