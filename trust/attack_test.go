// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/appended"
	"github.com/peelboot/peel/trust/internal/trusttest"
)

// digest returns an image's Authenticode digest.
func digest(t testing.TB, image []byte, h crypto.Hash) []byte {
	t.Helper()
	f, err := pe.Parse(image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.Digest(h)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// setDirectory rewrites the certificate table's directory entry.
func setDirectory(b []byte, off, size uint32) []byte {
	out := append([]byte(nil), b...)
	dir := trusttest.CertDirectory(out)
	binary.LittleEndian.PutUint32(out[dir:], off)
	binary.LittleEndian.PutUint32(out[dir+4:], size)
	return out
}

func TestAttackSignatureOfAnotherImage(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	other := trusttest.PE(t, trusttest.Section{Name: ".text", Data: []byte("harmless")})
	b := trusttest.Attach(trusttest.SmallPE(t), trusttest.Authenticode(t, other, opts(k)))
	r, err := verifier(k).Verify(imageObject(b))
	wantError(t, "signature of another image", r, err, trust.ErrDigestMismatch)
}

func TestAttackCertificateTablePlace(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	image := signed(t, k)
	f, err := pe.Parse(image)
	if err != nil {
		t.Fatal(err)
	}
	size := uint32(f.CertTable.Size)
	// The whole table copied into a section, the directory pointing there.
	table := image[f.CertTable.Offset:]
	host := trusttest.PE(t, trusttest.Section{Name: ".text", Data: append([]byte("12345678"), table...)})
	hf, err := pe.Parse(host)
	if err != nil {
		t.Fatal(err)
	}
	inside := setDirectory(host, hf.Sections[0].PointerToRawData+8, size)
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"inside a section", inside},
		{"in the headers", setDirectory(image, 8, size)},
		{"before the sections", setDirectory(image, f.SizeOfHeaders-8, 8)},
		{"beyond the file", setDirectory(image, uint32(len(image)), size)},
		{"wrapping around", setDirectory(image, 0xfffffff8, size)},
		{"misaligned", setDirectory(image, uint32(f.CertTable.Offset)+4, size-4)},
		{"larger than the file", setDirectory(image, uint32(f.CertTable.Offset), size+8)},
	} {
		r, err := verifier(k).Verify(imageObject(c.b))
		wantError(t, c.name, r, err, trust.ErrMalformed)
	}
}

func TestAttackDataAfterTable(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	for _, tail := range [][]byte{{0}, make([]byte, 8), bytes.Repeat([]byte("evil"), 100)} {
		r, err := verifier(k).Verify(imageObject(append(signed(t, k), tail...)))
		wantError(t, "data after the table", r, err, trust.ErrMalformed)
	}
	// Counted into the table, behind the last entry.
	b := signed(t, k)
	dir := trusttest.CertDirectory(b)
	b = append(b, make([]byte, 8)...)
	binary.LittleEndian.PutUint32(b[dir+4:], binary.LittleEndian.Uint32(b[dir+4:])+8)
	r, err := verifier(k).Verify(imageObject(b))
	wantError(t, "zeros in the table", r, err, trust.ErrMalformed)
}

func TestAttackConflictingSBAT(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	old := []byte("sbat,1,a,b,c,d\nshim,1,a,b,c,d\n")
	fresh := []byte("sbat,1,a,b,c,d\nshim,9,a,b,c,d\n")
	image := trusttest.PE(t, trusttest.Section{Name: ".text", Data: []byte("x")},
		trusttest.Section{Name: ".sbat", Data: fresh}, trusttest.Section{Name: ".sbat", Data: old})
	r, err := verifier(k).Verify(imageObject(trusttest.SignPE(t, image, opts(k))))
	wantError(t, "two .sbat sections", r, err, trust.ErrSBAT)
}

func TestAttackRevoked(t *testing.T) {
	root := testkit.NewCA(t, "root")
	middle := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "intermediate", CA: true, Issuer: root})
	leaf := middle.Issue(t, "leaf")
	o := opts(leaf)
	o.Extra = []*x509.Certificate{middle.Cert}
	plain := trusttest.SmallPE(t)
	image := trusttest.SignPE(t, plain, o)
	o.Extra = nil
	without := trusttest.SignPE(t, plain, o)

	r, err := verifier(root).Verify(imageObject(image))
	wantError(t, "nothing revoked", r, err, nil)
	if got := len(r.Layers[0].Chain); got != 3 {
		t.Errorf("Verify().Chain has %d certificates, want 3", got)
	}
	r, err = verifier(root).Verify(imageObject(without))
	wantError(t, "intermediate not sent along", r, err, trust.ErrUnknownSigner)
	r, err = verifier(middle).Verify(imageObject(without))
	wantError(t, "intermediate listed", r, err, nil)

	deny := func(edit func(*trust.List)) *trust.Verifier {
		v := verifier(root, middle)
		l := trust.List{Name: "dbx", Scope: trust.ScopeFirmware}
		edit(&l)
		v.Keys.Deny = []trust.List{l}
		return v
	}
	tbs := func(c *x509.Certificate, h crypto.Hash) trust.TBSDigest {
		w := h.New()
		w.Write(c.RawTBSCertificate)
		return trust.TBSDigest{Digest: trust.Digest{Hash: h, Sum: w.Sum(nil)}}
	}
	for _, c := range []struct {
		name  string
		image []byte
		edit  func(*trust.List)
	}{
		{"leaf", image, func(l *trust.List) { l.Certificates = append(l.Certificates, leaf.Cert) }},
		{"intermediate", image, func(l *trust.List) { l.Certificates = append(l.Certificates, middle.Cert) }},
		{"intermediate that only the deny list has", without, func(l *trust.List) { l.Certificates = append(l.Certificates, middle.Cert) }},
		{"root", image, func(l *trust.List) { l.Certificates = append(l.Certificates, root.Cert) }},
		{"leaf by TBS SHA-256", image, func(l *trust.List) { l.TBS = append(l.TBS, tbs(leaf.Cert, crypto.SHA256)) }},
		{"intermediate by TBS SHA-384", image, func(l *trust.List) { l.TBS = append(l.TBS, tbs(middle.Cert, crypto.SHA384)) }},
		{"root by TBS SHA-512", image, func(l *trust.List) { l.TBS = append(l.TBS, tbs(root.Cert, crypto.SHA512)) }},
		{"image digest SHA-256, valid signature", image, func(l *trust.List) {
			l.Images = append(l.Images, trust.Digest{Hash: crypto.SHA256, Sum: digest(t, plain, crypto.SHA256)})
		}},
		{"image digest SHA-512, valid signature", image, func(l *trust.List) {
			l.Images = append(l.Images, trust.Digest{Hash: crypto.SHA512, Sum: digest(t, plain, crypto.SHA512)})
		}},
		{"certificate that nobody can read", image, func(l *trust.List) { l.Unreadable = append(l.Unreadable, leaf.Cert.Raw) }},
	} {
		r, err := deny(c.edit).Verify(imageObject(c.image))
		wantError(t, c.name, r, err, trust.ErrRevoked)
		if r.Layers[0].List != "dbx" {
			t.Errorf("Verify(%s).List = %q, want dbx", c.name, r.Layers[0].List)
		}
	}

	// Denial also beats a digest that is allowed.
	v := deny(func(l *trust.List) { l.Certificates = append(l.Certificates, leaf.Cert) })
	v.Keys.Allow = append(v.Keys.Allow, trust.List{Name: "db", Images: []trust.Digest{{Hash: crypto.SHA256, Sum: digest(t, plain, crypto.SHA256)}}})
	r, err = v.Verify(imageObject(image))
	wantError(t, "revoked signer, allowed digest", r, err, trust.ErrRevoked)
	r, err = v.Verify(imageObject(plain))
	wantError(t, "unsigned, allowed digest", r, err, nil)
}

// An operator's denial of a certificate holds for its key: a renewed
// certificate does not bring it back.
func TestAttackRenewedCertificate(t *testing.T) {
	ca := testkit.NewCA(t, "authority")
	leaf := ca.Issue(t, "signer")
	renewed := renew(t, ca, leaf)
	v := verifier(ca)
	v.Keys.Deny = []trust.List{certList("/etc/peel/revoked.d/signer.pem", leaf)}
	o := trusttest.Options{Signer: leaf.Signer, Cert: renewed}
	r, err := v.Verify(imageObject(trusttest.SignPE(t, trusttest.SmallPE(t), o)))
	wantError(t, "renewed certificate of a revoked key", r, err, trust.ErrRevoked)
}

// uki is a signed image and the object of a part inside it.
func inside(parent, name string, role trust.Role, b []byte) trust.Object {
	return trust.Object{Name: parent + "/" + name, Role: role, Data: b, Inside: parent}
}

func TestAttackSwappedInitrd(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	kernel := trusttest.SignPE(t, trusttest.SmallPE(t), opts(k))
	uki := func(initrd string) []byte {
		return trusttest.PE(t, trusttest.Section{Name: ".linux", Data: kernel}, trusttest.Section{Name: ".initrd", Data: []byte(initrd)})
	}
	good := trusttest.SignPE(t, uki("good initrd"), opts(k))
	swapped := bytes.Replace(good, []byte("good initrd"), []byte("evil initrd"), 1)
	r, err := verifier(k).Verify(imageObject(swapped), inside("image.efi", ".linux", trust.RolePayload, kernel),
		inside("image.efi", ".initrd", trust.RoleInitrd, []byte("evil initrd")))
	wantError(t, "swapped initrd beside a signed kernel", r, err, trust.ErrDigestMismatch)
	for _, l := range r.Layers {
		if l.Verdict != trust.Refused {
			t.Errorf("Verify(swapped).%s = %s, want refused", l.Name, l.Verdict)
		}
	}
	// The signed kernel does not vouch for an initrd from outside either.
	r, err = verifier(k).Verify(imageObject(good), trust.Object{Name: "initrd.img", Role: trust.RoleInitrd, Data: []byte("evil initrd")})
	wantError(t, "initrd from outside", r, err, trust.ErrNoSignature)
	r, err = verifier(k).Verify(imageObject(good), inside("image.efi", ".linux", trust.RolePayload, kernel),
		inside("image.efi", ".initrd", trust.RoleInitrd, []byte("good initrd")))
	wantError(t, "untouched", r, err, nil)
	// A part cannot claim to lie in a layer that nobody verified.
	r, err = verifier(k).Verify(imageObject(good), inside("other.efi", ".initrd", trust.RoleInitrd, []byte("evil")))
	wantError(t, "part of an unverified layer", r, err, trust.ErrNoSignature)
}

func TestAttackAddonByStranger(t *testing.T) {
	k, stranger := testkit.NewKey(t, "signer"), testkit.NewKey(t, "signer")
	addon := trusttest.PE(t, trusttest.Section{Name: ".cmdline", Data: []byte("init=/bin/sh")})
	obj := func(by *testkit.Key) trust.Object {
		return trust.Object{Name: "debug.addon.efi", Role: trust.RoleAddon, Data: trusttest.SignPE(t, addon, opts(by))}
	}
	r, err := verifier(k).Verify(imageObject(signed(t, k)), obj(stranger))
	wantError(t, "addon by a stranger", r, err, trust.ErrUnknownSigner)
	r, err = verifier(k).Verify(imageObject(signed(t, k)), obj(k))
	wantError(t, "addon by the signer", r, err, nil)
}

func TestAttackContainerByImageKey(t *testing.T) {
	image, parser := testkit.NewCA(t, "image key"), testkit.NewCA(t, "parser key")
	v := verifier(image)
	l := certList("parser.pem", parser)
	l.Usage = trust.UsageParser
	v.Keys.Allow = append(v.Keys.Allow, l)
	obj := func(by *testkit.Key) trust.Object {
		return trust.Object{Name: "uki.bpf", Role: trust.RoleParser, Data: appendSignature(t, by, []byte("\x7fELF container"))}
	}
	r, err := v.Verify(obj(image))
	wantError(t, "image key, any key will do", r, err, nil)
	v.Policy.ParserKeysOnly = true
	r, err = v.Verify(obj(image))
	wantError(t, "image key, parser key wanted", r, err, trust.ErrUsage)
	r, err = v.Verify(obj(parser))
	wantError(t, "parser key", r, err, nil)
	// The same when the trailer has been taken off before.
	split, err := appended.Split(obj(parser).Data)
	if err != nil {
		t.Fatal(err)
	}
	o := trust.Object{Name: "uki.bpf", Role: trust.RoleParser, Data: split.Content, Appended: split.CMS}
	r, err = v.Verify(o)
	wantError(t, "parser key, trailer taken off", r, err, nil)
	if got := r.Layers[0].Signatures[0].Kind; got != trust.KindAppended {
		t.Errorf("Kind = %s, want appended", got)
	}
	o.Data = append([]byte("x"), o.Data...)
	r, err = v.Verify(o)
	wantError(t, "trailer of another file", r, err, trust.ErrRefused)
	// A parser key does not vouch for images.
	r, err = v.Verify(imageObject(signed(t, parser)))
	wantError(t, "image by the parser key", r, err, trust.ErrUsage)
}

// The bytes verified are the bytes used: a file that somebody rewrites or
// replaces while it is open never changes what was read once.
func TestAttackRacingWriter(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	good := signed(t, k)
	evil := append([]byte(nil), good...)
	evil[3] ^= 1
	dir := t.TempDir()
	link := filepath.Join(dir, "image.efi")
	goodPath := testkit.WriteFile(t, "good.efi", good)
	evilPath := testkit.WriteFile(t, "evil.efi", evil)
	if err := os.Symlink(goodPath, link); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			target := goodPath
			if i%2 == 0 {
				target = evilPath
			}
			tmp := filepath.Join(dir, "next")
			_ = os.Symlink(target, tmp)
			_ = os.Rename(tmp, link)
			_ = os.WriteFile(goodPath+".copy", evil, 0o600)
		}
	}()
	allowed, refused := 0, 0
	for i := 0; i < 200; i++ {
		m, err := sealed.Open(link, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		before := append([]byte(nil), m.Bytes()...)
		_, err = verifier(k).Verify(imageObject(m.Bytes()))
		if !bytes.Equal(before, m.Bytes()) {
			t.Fatal("sealed bytes changed")
		}
		switch {
		case err == nil && bytes.Equal(before, good):
			allowed++
		case err != nil && !bytes.Equal(before, good):
			refused++
		default:
			t.Fatalf("Verify() = %v for good bytes %t", err, bytes.Equal(before, good))
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
	if allowed+refused != 200 {
		t.Errorf("%d allowed and %d refused, want 200 together", allowed, refused)
	}
	// In place: the writer changes the very file after it was read.
	m, err := sealed.Open(goodPath, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.WriteFile(goodPath, evil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := verifier(k).Verify(imageObject(m.Bytes()))
	wantError(t, "file rewritten after it was read", r, err, nil)
}

// Bytes between sections are not covered by the digest; with contents they
// are refused.
func TestAttackGapBetweenSections(t *testing.T) {
	k := testkit.NewKey(t, "signer")
	image := trusttest.PE(t, trusttest.Section{Name: ".text", Data: make([]byte, 64)}, trusttest.Section{Name: ".data", Data: make([]byte, 64)})
	f, err := pe.Parse(image)
	if err != nil {
		t.Fatal(err)
	}
	// Shrink .text so that a gap of 32 bytes opens behind it.
	table := bytes.Index(image, []byte(".text\x00"))
	binary.LittleEndian.PutUint32(image[table+8:], 32)
	binary.LittleEndian.PutUint32(image[table+16:], 32)
	off := f.Sections[0].PointerToRawData + 32
	b := trusttest.SignPE(t, image, opts(k))
	r, err := verifier(k).Verify(imageObject(b))
	wantError(t, "empty gap", r, err, nil)
	b[off] = 1
	r, err = verifier(k).Verify(imageObject(b))
	wantError(t, "gap with contents", r, err, trust.ErrUncovered)
}

// Weak digests and keys are named as such.
func TestAttackWeak(t *testing.T) {
	small := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "small", Bits: 1024})
	ca := testkit.NewCA(t, "authority")
	o := opts(ca)
	o.Hash = crypto.SHA1
	for _, c := range []struct {
		name string
		v    *trust.Verifier
		b    []byte
	}{
		{"RSA-1024", verifier(small), signed(t, small)},
		{"SHA-1", verifier(ca), trusttest.SignPE(t, trusttest.SmallPE(t), o)},
	} {
		r, err := c.v.Verify(imageObject(c.b))
		wantError(t, c.name, r, err, trust.ErrWeak)
	}
	v := verifier(small)
	v.Policy.RSABits = 1024
	r, err := v.Verify(imageObject(signed(t, small)))
	wantError(t, "RSA-1024, permitted", r, err, nil)
}

// Who may issue: as OpenSSL asks for EDK2 and shim.
func TestAttackIntermediate(t *testing.T) {
	root := testkit.NewCA(t, "root")
	short := issue(t, root, "authority for leaves only", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	for _, c := range []struct {
		name   string
		parent *testkit.Key
		edit   func(*x509.Certificate)
		want   error
	}{
		{"authority", root, func(*x509.Certificate) {}, nil},
		{"no authority, by basic constraints", root, func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false }, trust.ErrUnknownSigner},
		{"no authority, by key usage", root, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, trust.ErrUnknownSigner},
		{"no authority, without extensions", root, func(c *x509.Certificate) {
			c.KeyUsage, c.BasicConstraintsValid, c.IsCA = 0, false, false
		}, trust.ErrUnknownSigner},
		{"beyond the path length", short, func(*x509.Certificate) {}, trust.ErrUnknownSigner},
		{"unknown critical extension", root, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, trust.ErrUnknownSigner},
		{"unknown extension", root, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Value: []byte{5, 0}}}
		}, nil},
		{"name constraints", root, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.org"} }, trust.ErrUnknownSigner},
		{"expired", root, func(c *x509.Certificate) { c.NotAfter = c.NotBefore }, nil},
	} {
		middle := issue(t, c.parent, "intermediate", c.edit)
		leaf := issue(t, middle, "leaf", func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false })
		o := opts(leaf)
		o.Extra = []*x509.Certificate{middle.Cert, short.Cert}
		r, err := verifier(root).Verify(imageObject(trusttest.SignPE(t, trusttest.SmallPE(t), o)))
		wantError(t, c.name, r, err, c.want)
	}
	leaf := issue(t, short, "leaf", func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false })
	o := opts(leaf)
	o.Extra = []*x509.Certificate{short.Cert}
	r, err := verifier(root).Verify(imageObject(trusttest.SignPE(t, trusttest.SmallPE(t), o)))
	wantError(t, "within the path length", r, err, nil)
}

// A leaf that is no authority cannot issue, and an intermediate of a path
// longer than the authority permits cannot either.
func TestAttackLeafAsAuthority(t *testing.T) {
	root := testkit.NewCA(t, "root")
	leaf := root.Issue(t, "leaf")
	forged := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "forged", Issuer: leaf})
	o := opts(forged)
	o.Extra = []*x509.Certificate{leaf.Cert}
	r, err := verifier(root).Verify(imageObject(trusttest.SignPE(t, trusttest.SmallPE(t), o)))
	wantError(t, "leaf as authority", r, err, trust.ErrUnknownSigner)
}

// A message cannot make the verifier check signatures without end.
func TestAttackManyNamesakes(t *testing.T) {
	root := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "namesake", CA: true, ECDSA: true})
	leaf := root.Issue(t, "leaf")
	v := verifier(root)
	for i := 0; i < 150; i++ {
		k := testkit.NewKeyWith(t, testkit.KeyOptions{CN: "namesake", CA: true, ECDSA: true})
		v.Keys.Allow[0].Certificates = append(v.Keys.Allow[0].Certificates, k.Cert)
	}
	r, err := v.Verify(imageObject(signed(t, leaf)))
	wantError(t, "150 authorities of one name", r, err, trust.ErrLimit)
	v.Keys.Allow[0].Certificates = v.Keys.Allow[0].Certificates[:60]
	r, err = v.Verify(imageObject(signed(t, leaf)))
	wantError(t, "60 authorities of one name", r, err, nil)
}
