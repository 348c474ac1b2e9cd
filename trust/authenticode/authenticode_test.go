// SPDX-License-Identifier: Apache-2.0

package authenticode_test

import (
	"crypto"
	"errors"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/cms"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

// verify reads the only signature of an image and checks digest and signer.
func verify(t *testing.T, image []byte, k *testkit.Key) error {
	t.Helper()
	f, err := pe.Parse(image)
	if err != nil {
		return err
	}
	entries, err := authenticode.Read(f)
	if err != nil {
		return err
	}
	e := entries[0]
	if e.Err != nil {
		return e.Err
	}
	d, err := f.Digest(e.Hash)
	if err != nil {
		return err
	}
	if err := e.CheckImage(d); err != nil {
		return err
	}
	return e.CheckSigner(k.Cert)
}

// The pitfalls that implementations fell into, one by one.
func TestPitfalls(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	image := trusttest.SmallPE(t)
	other := trusttest.PE(t, trusttest.Section{Name: ".text", Data: []byte("other code")})
	o := trusttest.Options{Signer: k.Signer, Cert: k.Cert}
	with := func(edit func(*trusttest.Options)) []byte {
		c := o
		edit(&c)
		return trusttest.SignPE(t, image, c)
	}
	for _, c := range []struct {
		name  string
		image []byte
		want  error
	}{
		{"as it should be", with(func(*trusttest.Options) {}), nil},
		{"message digest over tag and length of the content", with(func(o *trusttest.Options) { o.DigestOverTLV = true }), cms.ErrDigest},
		{"good signer over another image's digest", trusttest.Attach(image, trusttest.Authenticode(t, other, o)), authenticode.ErrDigest},
		{"content type of plain data", with(func(o *trusttest.Options) { o.AttrContentType = cms.OIDData() }), cms.ErrDigest},
		{"no signed attributes", with(func(o *trusttest.Options) { o.NoAttrs = true }), cms.ErrSyntax},
		{"CMS version 3", with(func(o *trusttest.Options) { o.Version = 3 }), authenticode.ErrSyntax},
		{"digest of the wrong length", with(func(o *trusttest.Options) {
			o.Content = trusttest.Indirect(t, crypto.SHA256, make([]byte, 48))
		}), authenticode.ErrSyntax},
		{"digest announced as SHA-1", with(func(o *trusttest.Options) {
			o.Content = trusttest.Indirect(t, crypto.SHA1, make([]byte, 20))
		}), authenticode.ErrDigest},
		{"detached message", trusttest.Attach(image, trusttest.Message(t, trusttest.Options{Signer: k.Signer, Cert: k.Cert,
			ContentType: trusttest.IndirectData, Detached: []byte{}})), authenticode.ErrSyntax},
		{"message over plain data", trusttest.Attach(image, trusttest.Message(t, trusttest.Options{Signer: k.Signer, Cert: k.Cert,
			Detached: image})), authenticode.ErrSyntax},
		{"unsigned", image, authenticode.ErrNone},
	} {
		if err := verify(t, c.image, k); !errors.Is(err, c.want) {
			t.Errorf("verify(%s) = %v, want %v", c.name, err, c.want)
		}
	}
}

// A malformed or foreign entry does not hide the good one beside it.
func TestReadSeveral(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	image := trusttest.SmallPE(t)
	good := trusttest.Authenticode(t, image, trusttest.Options{Signer: k.Signer, Cert: k.Cert})
	b := trusttest.Attach(image, []byte("rubbish!"), good, good)
	f, err := pe.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	b[f.CertTable.Offset+6] = 1 // the first entry is now of type X.509
	entries, err := authenticode.Read(f)
	if err != nil || len(entries) != 3 {
		t.Fatalf("Read() = %d entries, %v, want 3", len(entries), err)
	}
	if !errors.Is(entries[0].Err, authenticode.ErrSyntax) || entries[1].Err != nil || entries[2].Err != nil {
		t.Errorf("Read() = errors %v, %v, %v, want only the first", entries[0].Err, entries[1].Err, entries[2].Err)
	}
}

// Padding behind a message is zero, whether the entry counts it or not.
func TestPadding(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	image := trusttest.SmallPE(t)
	var m []byte
	for n := 0; n < 8; n++ { // an unsigned attribute sets the length
		value := append([]byte{4, byte(n)}, make([]byte, n)...)
		m = trusttest.Authenticode(t, image, trusttest.Options{Signer: k.Signer, Cert: k.Cert,
			Unsigned: func([]byte) []trusttest.Attribute {
				return []trusttest.Attribute{{Type: []int{1, 2, 3}, Value: value}}
			}})
		if len(m)%8 == 3 {
			break
		}
	}
	if len(m)%8 != 3 {
		t.Fatalf("no message of 8n+3 bytes")
	}
	b := trusttest.Attach(image, m)
	if err := verify(t, b, k); err != nil {
		t.Errorf("verify(zero padding) = %v, want nil", err)
	}
	b[len(b)-1] = 1
	if err := verify(t, b, k); !errors.Is(err, authenticode.ErrSyntax) {
		t.Errorf("verify(padding of ones) = %v, want ErrSyntax", err)
	}
}

// The tests' writer is no oracle of its own: sbverify and osslsigncode accept
// what it makes.
func TestToolsRead(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	image := trusttest.PE(t, trusttest.Section{Name: ".text", Data: make([]byte, 512)})
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		p := testkit.WriteFile(t, "image.efi", trusttest.SignPE(t, image, trusttest.Options{Signer: k.Signer, Cert: k.Cert, Hash: h}))
		testkit.Run(t, "", "osslsigncode", "verify", "-CAfile", k.CertPEM, "-in", p)
		if h == crypto.SHA256 {
			testkit.Run(t, "", "sbverify", "--cert", k.CertPEM, p)
		}
	}
}

func FuzzAuthenticode(f *testing.F) {
	k := testkit.NewKey(f, "signer")
	image := trusttest.SmallPE(f)
	o := trusttest.Options{Signer: k.Signer, Cert: k.Cert}
	f.Add(trusttest.SignPE(f, image, o))
	f.Add(trusttest.Attach(image, trusttest.Authenticode(f, image, o), []byte("12345678")))
	f.Add(image)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := pe.Parse(b)
		if err != nil {
			return
		}
		entries, err := authenticode.Read(p)
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Err != nil {
				continue
			}
			d, err := p.Digest(e.Hash)
			if err == nil {
				_ = e.CheckImage(d)
			}
			_ = e.CheckSigner(k.Cert)
		}
	})
}
