// SPDX-License-Identifier: Apache-2.0

package ima_test

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/trust/ima"
)

// value makes the bytes of a signature attribute.
func value(t testing.TB, k *testkit.Key, typ, version byte, digest []byte) []byte {
	t.Helper()
	signed := digest
	if version == 3 {
		h := sha256.Sum256(append([]byte{typ, 4}, digest...))
		signed = h[:]
	}
	sig, err := k.Signer.Sign(nil, signed, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{typ, version, 4}
	b = binary.BigEndian.AppendUint32(b, ima.KeyIDs(k.Cert)[0])
	b = binary.BigEndian.AppendUint16(b, uint16(len(sig)))
	return append(b, sig...)
}

func TestCheck(t *testing.T) {
	k, stranger := testkit.NewCA(t, "signer"), testkit.NewCA(t, "stranger")
	file := []byte("contents")
	sum := sha256.Sum256(file)
	verity, err := ima.VerityDigest(crypto.SHA256, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		b      []byte
		digest []byte
	}{
		{"v2", value(t, k, 3, 2, sum[:]), sum[:]},
		{"v3", value(t, k, 3, 3, sum[:]), sum[:]},
		{"v3 over fs-verity", value(t, k, 6, 3, verity), verity},
	} {
		v, err := ima.Parse(c.b)
		if err != nil {
			t.Errorf("Parse(%s) = %v", c.name, err)
			continue
		}
		if !v.Signature() || !v.Names(k.Cert) || v.Names(stranger.Cert) {
			t.Errorf("Parse(%s) = %+v, want a signature that names its signer", c.name, v)
		}
		if err := v.Check(k.Cert, c.digest); err != nil {
			t.Errorf("Check(%s) = %v, want nil", c.name, err)
		}
		if err := v.Check(stranger.Cert, c.digest); !errors.Is(err, ima.ErrSignature) {
			t.Errorf("Check(%s, stranger) = %v, want ErrSignature", c.name, err)
		}
		other := append([]byte(nil), c.digest...)
		other[0] ^= 1
		if err := v.Check(k.Cert, other); !errors.Is(err, ima.ErrSignature) {
			t.Errorf("Check(%s, other file) = %v, want ErrSignature", c.name, err)
		}
	}
	// A version 2 signature is over the digest itself and must not pass as
	// one over the identified digest, nor the other way about.
	b := value(t, k, 3, 2, sum[:])
	b[1] = 3
	v, err := ima.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Check(k.Cert, sum[:]); !errors.Is(err, ima.ErrSignature) {
		t.Errorf("Check(v2 called v3) = %v, want ErrSignature", err)
	}
}

func TestDigests(t *testing.T) {
	file := []byte("contents")
	s1, s256 := sha1.Sum(file), sha256.Sum256(file)
	for _, c := range []struct {
		name string
		b    []byte
		sum  []byte
	}{
		{"sha1", append([]byte{1}, s1[:]...), s1[:]},
		{"sha256", append([]byte{4, 4}, s256[:]...), s256[:]},
	} {
		v, err := ima.Parse(c.b)
		if err != nil || v.Signature() {
			t.Fatalf("Parse(%s) = %+v, %v, want a digest", c.name, v, err)
		}
		if err := v.Check(nil, c.sum); err != nil {
			t.Errorf("Check(%s) = %v, want nil", c.name, err)
		}
		c.b[len(c.b)-1] ^= 1
		if err := v.Check(nil, c.sum); !errors.Is(err, ima.ErrDigest) {
			t.Errorf("Check(%s, changed) = %v, want ErrDigest", c.name, err)
		}
	}
}

func TestParseMalformed(t *testing.T) {
	good := value(t, testkit.NewCA(t, "signer"), 3, 2, make([]byte, 32))
	edit := func(i int, b byte) []byte {
		out := append([]byte(nil), good...)
		out[i] = b
		return out
	}
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"empty", nil}, {"one byte", good[:1]}, {"header only", good[:9]}, {"cut", good[:len(good)-1]},
		{"trailing byte", append(good[:len(good):len(good)], 0)},
		{"type 2 (EVM HMAC)", edit(0, 2)}, {"type 5 (EVM)", edit(0, 5)}, {"version 1", edit(1, 1)}, {"version 4", edit(1, 4)},
		{"verity with version 2", edit(0, 6)}, {"MD5", edit(2, 1)}, {"no such hash", edit(2, 200)},
		{"size 0", append(append([]byte(nil), good[:7]...), 0, 0)},
		{"too large", make([]byte, ima.MaxSize+1)},
		{"sha1 digest, short", make([]byte, 20)}, {"digest of wrong length", append([]byte{4, 4}, make([]byte, 20)...)},
	} {
		if _, err := ima.Parse(c.b); !errors.Is(err, ima.ErrSyntax) {
			t.Errorf("Parse(%s) = %v, want ErrSyntax", c.name, err)
		}
	}
}

// evmctl verifies a sidecar with the key that Names picks, and prints the
// key identifier that KeyIDs computes.
func TestEvmctl(t *testing.T) {
	k := testkit.NewCA(t, "signer")
	in := testkit.WriteFile(t, "file", []byte("contents"))
	cmd := exec.Command(testkit.Tool(t, "evmctl"), "ima_sign", "--sigfile", "-a", "sha256", "--key", k.KeyPEM, in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("evmctl: %v\n%s", err, out)
	}
	v, err := ima.Parse(testkit.ReadFile(t, in+".sig"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("contents"))
	if !v.Names(k.Cert) {
		t.Errorf("Names() = false for key id %08x, want true (have %08x)", v.KeyID, ima.KeyIDs(k.Cert))
	}
	if err := v.Check(k.Cert, sum[:]); err != nil {
		t.Errorf("Check(evmctl's sidecar) = %v, want nil", err)
	}
}

// evmctl signs and we verify fs-verity digests, as version 3.
func TestEvmctlVerity(t *testing.T) {
	k := testkit.NewCA(t, "signer")
	file := bytes.Repeat([]byte("0123456789abcdef"), 2000)
	d, err := ima.VerityDigest(crypto.SHA256, file)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testkit.Tool(t, "evmctl"), "sign_hash", "--veritysig", "--key", k.KeyPEM)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("sha256:%x file\n", d))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`06 ?03[0-9a-f ]+|0603[0-9a-f]+`).FindString(string(out))
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil || len(b) == 0 {
		t.Fatalf("evmctl sign_hash printed %q: %v", out, err)
	}
	v, err := ima.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if v.Type != ima.TypeVerity || v.Version != 3 {
		t.Errorf("Parse() = %+v, want an fs-verity signature of version 3", v)
	}
	if err := v.Check(k.Cert, d); err != nil {
		t.Errorf("Check(evmctl's fs-verity signature) = %v, want nil", err)
	}
}

// Digests that `fsverity digest` of fsverity-utils 1.5 prints for files of n
// bytes, byte i being 7i.
func TestVerityDigest(t *testing.T) {
	for _, c := range []struct {
		n    int
		h    crypto.Hash
		want string
	}{
		{0, crypto.SHA256, "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"},
		{1, crypto.SHA256, "b803429503d95915829b29fdbc8bbad142f3abfd11b1cadf5526582e685c0551"},
		{4096, crypto.SHA256, "87a706bdba32be89a173dc11d6a91c08165b4dcfcf743988c94595e82934a41a"},
		{4097, crypto.SHA256, "28d9f5641be097d0e2c2ef6f7c4b29870fd3ce2436428a413f5b7d609ce48c70"},
		{600000, crypto.SHA256, "c8be0edef35bb9299173355ceda2b77f99f569725b260ef9fab9809475dd8a38"},
		{600000, crypto.SHA512, "bb0652e9a0080e73833ba63360873ffac5e29e84d26dd9defb45a394581f940dc5d64a60d8c4d564ae9f1cd724bfa9bf71e6ab1cda1e9181ea1eba3bad90c780"},
	} {
		b := make([]byte, c.n)
		for i := range b {
			b[i] = byte(7 * i)
		}
		got, err := ima.VerityDigest(c.h, b)
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("VerityDigest(%v, %d bytes) = %x, %v, want %s", c.h, c.n, got, err, c.want)
		}
	}
	if _, err := ima.VerityDigest(crypto.SHA1, nil); !errors.Is(err, ima.ErrSyntax) {
		t.Errorf("VerityDigest(SHA-1) = %v, want ErrSyntax", err)
	}
}

// attributes is a Reader over a map.
type attributes map[string][]byte

func (a attributes) ReadAttribute(name string, limit int) ([]byte, error) {
	b, ok := a[name]
	if !ok {
		return nil, ima.ErrNoAttribute
	}
	if len(b) > limit {
		return nil, errors.New("too long")
	}
	return b, nil
}

func TestRead(t *testing.T) {
	if b, err := ima.Read(attributes{}); b != nil || err != nil {
		t.Errorf("Read(no attribute) = %x, %v, want nil, nil", b, err)
	}
	if b, err := ima.Read(attributes{"security.ima": {1, 2}}); !bytes.Equal(b, []byte{1, 2}) || err != nil {
		t.Errorf("Read() = %x, %v, want 0102, nil", b, err)
	}
	if _, err := ima.Read(attributes{"security.ima": make([]byte, ima.MaxSize+1)}); err == nil {
		t.Error("Read(too long) = nil error, want one")
	}
}

func FuzzIMA(f *testing.F) {
	k := testkit.NewCA(f, "signer")
	f.Add(value(f, k, 3, 2, make([]byte, 32)))
	f.Add(value(f, k, 6, 3, make([]byte, 32)))
	f.Add(append([]byte{4, 4}, make([]byte, 32)...))
	f.Add(make([]byte, 21))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ima.Parse(b)
		if err != nil {
			return
		}
		_ = v.Check(k.Cert, make([]byte, v.Hash.Size()))
		v.Names(k.Cert)
	})
}
