// SPDX-License-Identifier: Apache-2.0

package keyring_test

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust"
	"github.com/peelboot/peel/trust/authenticode"
	"github.com/peelboot/peel/trust/esl"
	"github.com/peelboot/peel/trust/internal/trusttest"
	"github.com/peelboot/peel/trust/keyring"
)

// put writes a file below dir, making directories.
func put(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// efivar returns the contents of an efivarfs file.
func efivar(b []byte) []byte { return append([]byte{6, 0, 0, 0}, b...) }

func list(t *testing.T, entries ...esl.Entry) []byte {
	t.Helper()
	b, err := esl.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func x509Entry(k *testkit.Key) esl.Entry { return esl.Entry{Type: esl.X509, Data: k.Cert.Raw} }

// machine records a machine with Secure Boot and shim below a directory.
type machine struct {
	root                   string
	pk, kek, db, mok, mokx *testkit.Key
	revokedImage           []byte
}

func record(t *testing.T) *machine {
	t.Helper()
	m := &machine{root: t.TempDir()}
	m.pk, m.kek, m.db = testkit.NewCA(t, "PK"), testkit.NewCA(t, "KEK"), testkit.NewCA(t, "db authority")
	m.mok, m.mokx = testkit.NewCA(t, "MOK"), testkit.NewCA(t, "revoked MOK")
	m.revokedImage = trusttest.SignPE(t, trusttest.SmallPE(t), trusttest.Options{Signer: m.db.Signer, Cert: m.db.Cert})
	sum := digestOf(t, m.revokedImage)
	vars := filepath.Join(m.root, "sys/firmware/efi/efivars")
	put(t, vars, "PK-"+esl.GlobalVariable, efivar(list(t, x509Entry(m.pk))))
	put(t, vars, "KEK-"+esl.GlobalVariable, efivar(list(t, x509Entry(m.kek))))
	put(t, vars, "db-"+esl.ImageSecurityDatabase, efivar(list(t, x509Entry(m.db))))
	put(t, vars, "dbx-"+esl.ImageSecurityDatabase, efivar(list(t, esl.Entry{Type: esl.SHA256, Data: sum})))
	put(t, vars, "MokListRT-"+esl.ShimLock, efivar(list(t, x509Entry(m.mok))))
	put(t, vars, "MokListXRT-"+esl.ShimLock, efivar(list(t, x509Entry(m.mokx))))
	put(t, vars, "SbatLevelRT-"+esl.ShimLock, efivar([]byte("sbat,1,2024010900\nshim,4\n")))
	put(t, vars, "SecureBoot-"+esl.GlobalVariable, efivar([]byte{1}))
	put(t, vars, "SetupMode-"+esl.GlobalVariable, efivar([]byte{0}))
	put(t, vars, "ShimRetainProtocol-"+esl.ShimLock, efivar([]byte{1}))
	return m
}

func digestOf(t *testing.T, image []byte) []byte {
	t.Helper()
	v := trust.Verifier{Policy: trust.DefaultPolicy()}
	r, _ := v.Verify(trust.Object{Name: "i", Role: trust.RoleImage, Data: image})
	b, err := hex.DecodeString(r.Layers[0].SHA256)
	if err != nil || len(b) != 32 {
		t.Fatalf("Verify().SHA256 = %q", r.Layers[0].SHA256)
	}
	return b
}

func TestFirmware(t *testing.T) {
	m := record(t)
	f, err := keyring.ReadFirmware(filepath.Join(m.root, keyring.EFIVarsDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		l    trust.List
		key  *testkit.Key
	}{{"PK", f.PK, m.pk}, {"KEK", f.KEK, m.kek}, {"db", f.DB, m.db}, {"MokListRT", f.MokList, m.mok}, {"MokListXRT", f.MokListX, m.mokx}} {
		if c.l.Name != c.name || len(c.l.Certificates) != 1 || !c.l.Certificates[0].Equal(c.key.Cert) {
			t.Errorf("ReadFirmware().%s = %+v, want its certificate", c.name, c.l)
		}
	}
	if len(f.DBX.Images) != 1 || f.DBX.Images[0].Hash != crypto.SHA256 {
		t.Errorf("ReadFirmware().DBX = %+v, want one digest", f.DBX)
	}
	if !f.Enforces() || f.ShimRetainProtocol == nil || !*f.ShimRetainProtocol || f.MokInsecure != nil || f.SBAT.Date != "2024010900" {
		t.Errorf("ReadFirmware() = %+v, want Secure Boot on and a level", f)
	}
	if want := []string{"dbt", "MokSBStateRT"}; !slices.Equal(f.Missing, want) {
		t.Errorf("ReadFirmware().Missing = %q, want %q", f.Missing, want)
	}
}

// A directory of .esl, .auth and .der files serves like efivarfs.
func TestFirmwareFiles(t *testing.T) {
	k, kek := testkit.NewKey(t, "signer"), testkit.NewKey(t, "kek")
	dir := t.TempDir()
	p := put(t, dir, "db.esl", list(t, x509Entry(k)))
	testkit.Run(t, "", "sign-efi-sig-list", "-k", kek.KeyPEM, "-c", kek.CertPEM, "dbx", p, filepath.Join(dir, "dbx.auth"))
	put(t, dir, "KEK.der", kek.Cert.Raw)
	put(t, dir, "SbatLevelRT.csv", []byte("sbat,1,2023012900\n"))
	f, err := keyring.ReadFirmware(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []trust.List{f.DB, f.DBX, f.KEK} {
		if len(l.Certificates) != 1 {
			t.Errorf("ReadFirmware().%s = %+v, want one certificate", l.Name, l)
		}
	}
	if f.SBAT.Date != "2023012900" || f.SecureBoot != nil || f.Enforces() {
		t.Errorf("ReadFirmware() = level %q, SecureBoot %v", f.SBAT.Date, f.SecureBoot)
	}
}

// A list that is there and broken must stop a decision, not shorten it.
func TestFirmwareBroken(t *testing.T) {
	for _, c := range []struct {
		file string
		b    []byte
	}{
		{"dbx-" + esl.ImageSecurityDatabase, []byte{1, 2}},
		{"dbx-" + esl.ImageSecurityDatabase, efivar([]byte("rubbish"))},
		{"MokListXRT-" + esl.ShimLock, efivar(make([]byte, 40))},
		{"SecureBoot-" + esl.GlobalVariable, efivar(nil)},
		{"SbatLevelRT-" + esl.ShimLock, efivar([]byte("shim\n"))},
	} {
		m := record(t)
		put(t, filepath.Join(m.root, keyring.EFIVarsDir), c.file, c.b)
		_, err := keyring.Collect(keyring.Options{Root: m.root, Machine: true})
		if !errors.Is(err, keyring.ErrUnreadable) {
			t.Errorf("Collect(%s = %x) = %v, want ErrUnreadable", c.file, c.b, err)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dbx.esl"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.ReadFirmware(dir); !errors.Is(err, keyring.ErrUnreadable) {
		t.Errorf("ReadFirmware(dbx.esl is a directory) = %v, want ErrUnreadable", err)
	}
}

// The whole question: would this machine's firmware and shim boot it?
func TestFirmwarePolicy(t *testing.T) {
	m := record(t)
	c, err := keyring.Collect(keyring.Options{Root: m.root, Machine: true, Vendor: true})
	if err != nil {
		t.Fatal(err)
	}
	v := c.Verifier(trust.FirmwarePolicy())
	image := trusttest.PE(t, trusttest.Section{Name: ".text", Data: []byte("another image")})
	sign := func(k *testkit.Key, h crypto.Hash) []byte {
		return trusttest.SignPE(t, image, trusttest.Options{Signer: k.Signer, Cert: k.Cert, Hash: h})
	}
	sbat := func(generation int) []byte {
		text := fmt.Sprintf("sbat,1,SBAT,sbat,1,url\nshim,%d,a,b,c,d\n", generation)
		return trusttest.SignPE(t, trusttest.PE(t, trusttest.Section{Name: ".text", Data: []byte("x")},
			trusttest.Section{Name: ".sbat", Data: []byte(text)}), trusttest.Options{Signer: m.db.Signer, Cert: m.db.Cert})
	}
	for _, tc := range []struct {
		name  string
		image []byte
		want  error
		list  string
	}{
		{"signed by db", sign(m.db, crypto.SHA256), nil, "db"},
		{"signed by an issue of db", sign(m.db.Issue(t, "leaf"), crypto.SHA384), nil, "db"},
		{"signed by MOK", sign(m.mok, crypto.SHA256), nil, "MokListRT"},
		{"signed by MOK with SHA-384, which shim does not check", sign(m.mok, crypto.SHA384), trust.ErrUsage, ""},
		{"signed by a revoked MOK", sign(m.mokx, crypto.SHA256), trust.ErrRevoked, ""},
		{"signed by PK", sign(m.pk, crypto.SHA256), trust.ErrUnknownSigner, ""},
		{"digest revoked", m.revokedImage, trust.ErrRevoked, ""},
		{"SBAT at the level", sbat(4), nil, "db"},
		{"SBAT below the level", sbat(3), trust.ErrSBAT, ""},
		{"unsigned", image, trust.ErrNoSignature, ""},
	} {
		r, err := v.Verify(trust.Object{Name: tc.name, Role: trust.RoleImage, Data: tc.image})
		if !errors.Is(err, tc.want) || (tc.want == nil && err != nil) {
			t.Errorf("Verify(%s) = %v, want %v", tc.name, err, tc.want)
			continue
		}
		if tc.want == nil && r.Layers[0].List != tc.list {
			t.Errorf("Verify(%s).List = %q, want %q", tc.name, r.Layers[0].List, tc.list)
		}
	}
}

func TestSummary(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		f    keyring.Firmware
		want string
	}{
		{keyring.Firmware{}, "no SecureBoot variable"},
		{keyring.Firmware{SecureBoot: &no}, "Secure Boot is off"},
		{keyring.Firmware{SecureBoot: &yes, SetupMode: &yes}, "setup mode"},
		{keyring.Firmware{SecureBoot: &yes, SetupMode: &no}, "firmware and shim refuse"},
		{keyring.Firmware{SecureBoot: &yes, MokInsecure: &yes}, "switched off"},
	} {
		if got := c.f.Summary(); !strings.Contains(got, c.want) {
			t.Errorf("Summary() = %q, want %q in it", got, c.want)
		}
	}
}

// Debian's shim holds Debian's authority and a deny list.
func TestShim(t *testing.T) {
	allow, deny, err := keyring.ReadShim("shimx64.efi", testkit.ReadFile(t, testkit.Shim(t)))
	if err != nil {
		t.Fatal(err)
	}
	if len(allow.Certificates) != 1 || string(allow.Certificates[0].Raw) != string(testkit.ReadFile(t, testkit.DebianCA(t))) {
		t.Errorf("ReadShim() allows %+v, want Debian's authority", allow)
	}
	if len(deny.Images) == 0 || deny.Unknown > 0 || len(deny.Unreadable) > 0 {
		t.Errorf("ReadShim() denies %d images, %d unknown, want some and none", len(deny.Images), deny.Unknown)
	}
	root := t.TempDir()
	put(t, root, "boot/efi/EFI/debian/shimx64.efi", testkit.ReadFile(t, testkit.Shim(t)))
	c, err := keyring.Collect(keyring.Options{Root: root, Vendor: true})
	if err != nil {
		t.Fatal(err)
	}
	kernel := testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12"))
	if _, err := c.Verifier(trust.DefaultPolicy()).Verify(trust.Object{Name: "k", Role: trust.RoleImage, Data: kernel}); err != nil {
		t.Errorf("Verify(Debian kernel, vendor certificate) = %v, want nil", err)
	}
	for _, b := range [][]byte{nil, []byte("MZ"), trusttest.SmallPE(t),
		trusttest.PE(t, trusttest.Section{Name: ".vendor_cert"[:8], Data: make([]byte, 8)})} {
		if _, _, err := keyring.ReadShim("x", b); !errors.Is(err, keyring.ErrUnreadable) {
			t.Errorf("ReadShim(%d bytes) = %v, want ErrUnreadable", len(b), err)
		}
	}
}

// A machine as Debian sets it up: Microsoft in db, Debian's shim installed.
// Shim boots by db, Debian's kernel by the certificate inside shim, and what
// nobody signed does not.
func TestFirmwarePolicyDebian(t *testing.T) {
	shim := testkit.ReadFile(t, testkit.Shim(t))
	f, err := pe.Parse(shim)
	if err != nil {
		t.Fatal(err)
	}
	sigs, err := authenticode.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	var db []esl.Entry
	for _, s := range sigs {
		for _, c := range s.Message.Certificates {
			if c.IsCA {
				db = append(db, esl.Entry{Type: esl.X509, Data: c.Raw})
			}
		}
	}
	root := t.TempDir()
	vars := filepath.Join(root, keyring.EFIVarsDir)
	put(t, vars, "db-"+esl.ImageSecurityDatabase, efivar(list(t, db...)))
	put(t, vars, "SecureBoot-"+esl.GlobalVariable, efivar([]byte{1}))
	put(t, vars, "SbatLevelRT-"+esl.ShimLock, efivar([]byte("sbat,1,2024010900\nshim,4\ngrub,3\n")))
	put(t, root, "boot/efi/EFI/debian/shimx64.efi", shim)
	c, err := keyring.Collect(keyring.Options{Root: root, Machine: true, Vendor: true})
	if err != nil {
		t.Fatal(err)
	}
	v := c.Verifier(trust.FirmwarePolicy())
	for _, tc := range []struct {
		name  string
		image []byte
		list  string
		sbat  string // a component its section names
		want  error
	}{
		{"shim", shim, "db", "shim.debian", nil},
		{"kernel", testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12")), "vendor certificate", "", nil},
		{"systemd-boot, not signed in its package", testkit.ReadFile(t, testkit.SystemdBoot(t, "amd64", "trixie")), "", "systemd-boot", trust.ErrNoSignature},
		{"unsigned kernel", testkit.ReadFile(t, testkit.Kernel(t, "amd64", "6.12-unsigned")), "", "", trust.ErrNoSignature},
	} {
		r, err := v.Verify(trust.Object{Name: tc.name, Role: trust.RoleImage, Data: tc.image})
		if !errors.Is(err, tc.want) || tc.want == nil && err != nil || !strings.HasPrefix(r.Layers[0].List, tc.list) {
			t.Errorf("Verify(%s) = %v by %q, want %v by %q", tc.name, err, r.Layers[0].List, tc.want, tc.list)
		}
		named := tc.sbat == ""
		for _, e := range r.Layers[0].SBAT.Entries {
			named = named || e.Component == tc.sbat
		}
		if !named {
			t.Errorf("Verify(%s).SBAT = %+v, want component %s", tc.name, r.Layers[0].SBAT, tc.sbat)
		}
	}
}

func TestOperator(t *testing.T) {
	root := t.TempDir()
	site, parser, kexec, build := testkit.NewCA(t, "site"), testkit.NewCA(t, "parser"), testkit.NewCA(t, "kexec"), testkit.NewCA(t, "build")
	keys := filepath.Join(root, keyring.KeysDir)
	put(t, keys, "site.pem", readFile(t, site.CertPEM))
	put(t, keys, "README", []byte("not a key"))
	put(t, keys, ".hidden.pem", []byte("not a key"))
	put(t, keys, "parser/p.der", parser.Cert.Raw)
	put(t, keys, "kexec/k.crt", readFile(t, kexec.CertPEM))
	put(t, keys, "build/6.12.0-1-amd64.pem", readFile(t, build.CertPEM))
	sum := sha256.Sum256([]byte("initrd"))
	put(t, keys, "known.sha256", []byte("# by hand\n\n"+hex.EncodeToString(sum[:])+"  initrd.img\n"))
	put(t, filepath.Join(root, keyring.RevokedDir), "old.esl", list(t, x509Entry(site)))
	c, err := keyring.Collect(keyring.Options{Root: root, Operator: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range c.Keys.Allow {
		rel, err := filepath.Rel(keys, l.Name)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s:%s:%s:%d", rel, l.Usage, l.Release, l.Len()))
	}
	want := []string{"known.sha256:::1", "site.pem:::1", "parser/p.der:parser::1", "kexec/k.crt:kexec::1", "build/6.12.0-1-amd64.pem:build:6.12.0-1-amd64:1"}
	if !slices.Equal(got, want) {
		t.Errorf("Collect() = %q, want %q", got, want)
	}
	if len(c.Keys.Deny) != 1 || !c.Given {
		t.Errorf("Collect() = %d deny lists, given %t, want 1, true", len(c.Keys.Deny), c.Given)
	}

	for _, f := range []struct {
		name string
		b    []byte
	}{{"bad.pem", []byte("rubbish")}, {"empty.pem", nil}, {"empty.esl", nil}, {"bad.sha256", []byte("123\n")}, {"bad.esl", make([]byte, 30)},
		{"unusable.esl", list(t, esl.Entry{Type: esl.RSA2048, Data: make([]byte, 256)})}} {
		dir := t.TempDir()
		put(t, dir, f.name, f.b)
		if _, err := keyring.ReadDir(dir); !errors.Is(err, keyring.ErrUnreadable) {
			t.Errorf("ReadDir(%s) = %v, want ErrUnreadable", f.name, err)
		}
	}
	if ls, err := keyring.ReadDir(filepath.Join(root, "nowhere")); len(ls) != 0 || err != nil {
		t.Errorf("ReadDir(nowhere) = %v, %v, want nothing", ls, err)
	}
	if _, err := keyring.Collect(keyring.Options{Root: root, Keyrings: []string{filepath.Join(root, "nowhere")}}); !errors.Is(err, keyring.ErrUnreadable) {
		t.Errorf("Collect(--keyring nowhere) = %v, want ErrUnreadable", err)
	}
}

func readFile(t *testing.T, p string) []byte { return testkit.ReadFile(t, p) }

// Lines as /proc/keys of a Debian kernel under Secure Boot has them.
const procKeys = `0a1b2c3d I------     1 perm 1f030000     0     0 keyring   .builtin_trusted_keys: 2
0b1b2c3d I------     1 perm 1f0f0000     0     0 keyring   .platform: 1
0c1b2c3d I------     1 perm 0f0b0000     0     0 keyring   .blacklist: 2
1337c0de I------     1 perm 1f030000     0     0 asymmetri Debian Secure Boot CA: 6ccece7e4c6c0d1f6149f3dd27dfcc5cbb419ea1: X509.rsa bb419ea1 []
2337c0de I------     1 perm 1f030000     0     0 asymmetri Build time autogenerated kernel key: 0102: X509.rsa 00000102 []
3337c0de I------     1 perm 1f030000     0     0 blacklist bin:0101010101010101010101010101010101010101010101010101010101010101
4337c0de I------     1 perm 1f030000     0     0 blacklist tbs:0202020202020202020202020202020202020202020202020202020202020202
5337c0de I------     1 perm 3f010000     0     0 user      some user key: 12
`

func TestKernel(t *testing.T) {
	root := t.TempDir()
	put(t, root, "proc/keys", []byte(procKeys))
	members := func(serial int32) ([]int32, error) {
		switch serial {
		case 0x0b1b2c3d:
			return []int32{0x1337c0de}, nil
		case 0x0c1b2c3d:
			return nil, errors.New("permission denied")
		}
		return []int32{0x2337c0de}, nil
	}
	k, err := keyring.ReadKernel(root, members)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := trust.ParseCertificates(testkit.ReadFile(t, testkit.DebianCA(t)))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Holds(ca[0]); !slices.Equal(got, []string{keyring.Platform}) {
		t.Errorf("Holds(Debian's authority) = %q, want .platform", got)
	}
	if got := k.Holds(testkit.NewCA(t, "Debian Secure Boot CA").Cert); got != nil {
		t.Errorf("Holds(a namesake) = %q, want none", got)
	}
	if len(k.Deny.Images) != 1 || len(k.Deny.TBS) != 1 || k.Deny.TBS[0].Hash != crypto.SHA256 || k.Deny.Unknown != 0 {
		t.Errorf("ReadKernel().Deny = %+v, want an image and a certificate", k.Deny)
	}
	if !slices.Equal(k.Unreadable, []string{keyring.Blacklist}) || len(k.Keys) != 4 {
		t.Errorf("ReadKernel() = %d keys, unreadable %q, want 4, .blacklist", len(k.Keys), k.Unreadable)
	}
	recorded, err := keyring.ReadKernel(root, nil)
	if err != nil || !slices.Equal(recorded.Holds(ca[0]), []string{""}) {
		t.Errorf("Holds(recorded) = %q, %v, want a nameless keyring", recorded.Holds(ca[0]), err)
	}
}

// The running kernel's own table can be read, whatever it holds.
func TestKernelLive(t *testing.T) {
	if _, err := keyring.ReadKernel("/", keyring.LiveMembers); err != nil {
		t.Errorf("ReadKernel(/) = %v, want nil", err)
	}
}

func FuzzKernelKeys(f *testing.F) {
	f.Add([]byte(procKeys))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		root := t.TempDir()
		put(t, root, "proc/keys", b)
		_, _ = keyring.ReadKernel(root, nil)
	})
}
