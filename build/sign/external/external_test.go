// SPDX-License-Identifier: Apache-2.0

package external

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/internal/testkit"
)

// This test program is also the signing programs that the tests start.
const (
	modeVar = "PEEL_TEST_SIGNER"
	keyVar  = "PEEL_TEST_SIGNER_KEY"
	certVar = "PEEL_TEST_SIGNER_CERT"
	// childVar names a file for the number of a process that is left behind.
	childVar = "PEEL_TEST_SIGNER_CHILD"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVar); mode != "" {
		if err := program(mode, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is a signing program, written after docs/signer-protocol.md alone.
func program(mode string, in io.Reader, out io.Writer) error {
	say := func(v map[string]any) error { return json.NewEncoder(out).Encode(v) }
	switch mode {
	case "silent":
		_, err := io.Copy(io.Discard, in)
		return err
	case "deaf":
		time.Sleep(time.Hour)
	case "parrot", "loud parrot":
		said, err := bufio.NewReader(in).ReadString('\n')
		if mode == "loud parrot" {
			return errors.Join(err, errors.New(said))
		}
		_, werr := io.WriteString(out, "got "+said)
		return errors.Join(err, werr, wait(in))
	case "refusing parrot":
		said, err := bufio.NewReader(in).ReadString('\n')
		return errors.Join(err, say(map[string]any{"error": said}), wait(in))
	case "rubbish":
		_, err := out.Write([]byte("Enter PIN: \x1b[31m\n"))
		return errors.Join(err, wait(in))
	case "endless":
		for {
			if _, err := out.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
				return err
			}
		}
	case "die":
		return errors.New("the card was taken out\x1b[2J")
	case "leave":
		return nil
	case "close output":
		os.Stdout.Close()
		time.Sleep(time.Hour)
	case "stubborn":
		defer time.Sleep(time.Hour)
	case "heir":
		// It inherits standard output and not standard error.
		child := exec.Command("sleep", "3600")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			return err
		}
		if err := os.WriteFile(os.Getenv(childVar), fmt.Append(nil, child.Process.Pid), 0o600); err != nil {
			return err
		}
	}
	kb, err := os.ReadFile(os.Getenv(keyVar))
	if err != nil {
		return err
	}
	cb, err := os.ReadFile(os.Getenv(certVar))
	if err != nil {
		return err
	}
	pair, err := sign.ParsePair(kb, cb)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(pair.Signer.Public())
	if err != nil {
		return err
	}
	sc := bufio.NewScanner(in)
	for sc.Scan() {
		var r struct {
			Do, Key, PIN, Scheme, Hash string
			Version                    int
			Digest                     []byte
		}
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			return err
		}
		answer := map[string]any{}
		switch {
		case r.Do == "open" && mode == "version":
			answer["version"] = 9
		case r.Do == "open" && r.Key != "the key":
			answer["error"], answer["code"] = "no key "+r.Key, "key"
		case r.Do == "open" && r.PIN != "1234":
			answer["error"], answer["code"] = "that is not it", "pin"
		case r.Do == "open":
			answer["version"], answer["public"], answer["certificates"] = 1, pub, [][]byte{pair.Certificate.Raw}
			answer["of the future"] = true
			switch mode {
			case "bad key":
				answer["public"] = []byte("x")
			case "bad certificate":
				answer["certificates"] = [][]byte{{1}}
			case "certificates":
				answer["certificates"] = make([][]byte, 100)
			}
		case r.Do == "sign" && mode == "hang later":
			time.Sleep(time.Hour)
		case r.Do == "sign" && mode == "lie":
			answer["signature"] = bytes.Repeat([]byte{1}, 256)
		case r.Do == "sign":
			h := map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}[r.Hash]
			_, ec := pair.Signer.(*ecdsa.PrivateKey)
			if ec != (r.Scheme == "ecdsa") || !ec && r.Scheme != "rsa-pkcs1v15" || h == 0 {
				return fmt.Errorf("scheme %q, hash %q", r.Scheme, r.Hash)
			}
			if answer["signature"], err = pair.Signer.Sign(nil, r.Digest, h); err != nil {
				return err
			}
		default:
			answer["error"] = "what is " + r.Do
		}
		if err := say(answer); err != nil {
			return err
		}
	}
	return sc.Err()
}

func wait(in io.Reader) error {
	_, err := io.Copy(io.Discard, in)
	return err
}

func options(t *testing.T, mode string, k *testkit.Key) Options {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Program: exe, Key: "the key", PIN: "1234", Timeout: 2 * time.Minute, Grace: 2 * time.Minute,
		Env: append(os.Environ(), modeVar+"="+mode, keyVar+"="+k.KeyPEM, certVar+"="+k.CertPEM),
	}
}

// A program signs images that sbverify accepts, with RSA and ECDSA.
func TestSign(t *testing.T) {
	stub := testkit.ReadFile(t, testkit.Stub(t, "amd64", "trixie"))
	f, err := pe.Parse(stub)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*testkit.Key{testkit.NewKey(t, "rsa"), testkit.NewKeyWith(t, testkit.KeyOptions{CN: "ec", ECDSA: true})} {
		s, err := Start(context.Background(), options(t, "sign", k))
		if err != nil {
			t.Fatal(err)
		}
		certs := s.Certificates()
		if len(certs) != 1 || !certs[0].Equal(k.Cert) {
			t.Fatalf("Certificates() = %v, want that of %s", certs, k.Cert.Subject)
		}
		a, err := sign.PE(f, sign.Key{Signer: s, Certificate: certs[0]}, sign.Options{}, false)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Run(t, "", "sbverify", "--cert", k.CertPEM, testkit.WriteFile(t, "signed.efi", a.Bytes()))
		var wg sync.WaitGroup
		for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			wg.Go(func() {
				if _, err := s.Sign(nil, make([]byte, h.Size()), h); err != nil {
					t.Errorf("Sign(%v) = %v", h, err)
				}
			})
		}
		wg.Wait()
		if _, err := s.Sign(nil, make([]byte, 32), &rsa.PSSOptions{Hash: crypto.SHA256}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("Sign(PSS) = %v, want %v", err, ErrUnsupported)
		}
		if _, err := s.Sign(nil, make([]byte, 31), crypto.SHA256); !errors.Is(err, ErrUnsupported) {
			t.Errorf("Sign(digest too short) = %v, want %v", err, ErrUnsupported)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if _, err := s.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, ErrProgram) {
			t.Errorf("Sign(after Close) = %v, want %v", err, ErrProgram)
		}
	}
}

// Whatever a program does, there is an error that tells, and in time.
func TestPrograms(t *testing.T) {
	k := testkit.NewKey(t, "rsa")
	for _, c := range []struct {
		mode string
		set  func(*Options)
		want error
		text string
	}{
		{"sign", func(o *Options) { o.PIN = "0" }, ErrPIN, "that is not it"},
		{"sign", func(o *Options) { o.Key = "another" }, ErrNoKey, "no key another"},
		{"sign", func(o *Options) { o.Program = filepath.Join(t.TempDir(), "none") }, ErrProgram, "no such file"},
		{"sign", func(o *Options) { o.Program = "peel-no-such-program" }, ErrProgram, "not found"},
		{"silent", func(o *Options) { o.Timeout = 200 * time.Millisecond }, ErrProgram, "within 200ms"},
		{"deaf", func(o *Options) { o.Timeout = 200 * time.Millisecond }, ErrProgram, "within 200ms"},
		{"rubbish", nil, ErrProtocol, "Enter PIN"},
		{"endless", nil, ErrProtocol, "more than 0x100000 bytes"},
		{"die", nil, ErrProgram, "the card was taken out"},
		{"leave", nil, ErrProgram, "without an answer"},
		{"close output", func(o *Options) { o.Grace = 200 * time.Millisecond }, ErrProgram, "without an answer"},
		{"version", nil, ErrProtocol, "version 9"},
		{"bad key", nil, ErrProtocol, "public key"},
		{"bad certificate", nil, ErrProtocol, "certificate 1"},
		{"certificates", nil, ErrProtocol, "100 certificates"},
	} {
		o := options(t, c.mode, k)
		if c.set != nil {
			c.set(&o)
		}
		s, err := Start(context.Background(), o)
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("Start(%s) = %v, want %v and %q", c.mode, err, c.want, c.text)
		}
		if strings.ContainsAny(fmt.Sprint(err), "\x1b") {
			t.Errorf("Start(%s): %q reaches for the terminal", c.mode, err)
		}
	}
}

func TestLater(t *testing.T) {
	k := testkit.NewKey(t, "rsa")
	digest := make([]byte, 32)
	s, err := Start(context.Background(), options(t, "lie", k))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(nil, digest, crypto.SHA256); !errors.Is(err, ErrSignature) {
		t.Errorf("Sign(program that lies) = %v, want %v", err, ErrSignature)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}

	o := options(t, "hang later", k)
	if s, err = Start(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	s.timeout = 200 * time.Millisecond
	for range 2 {
		if _, err := s.Sign(nil, digest, crypto.SHA256); !errors.Is(err, ErrProgram) {
			t.Errorf("Sign(program that hangs) = %v, want %v", err, ErrProgram)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v, after Sign told", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	if s, err = Start(ctx, options(t, "sign", k)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.Sign(nil, digest, crypto.SHA256); !errors.Is(err, ErrProgram) {
		t.Errorf("Sign(context that ended) = %v, want %v", err, ErrProgram)
	}

	o = options(t, "stubborn", k)
	o.Grace = 200 * time.Millisecond
	if s, err = Start(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, ErrProgram) {
		t.Errorf("Close(program that does not end) = %v, want %v", err, ErrProgram)
	}
}

// A process that the program left behind, with its output open, is not waited
// for.
func TestCloseWithHeir(t *testing.T) {
	o := options(t, "heir", testkit.NewKey(t, "rsa"))
	pid := filepath.Join(t.TempDir(), "pid")
	o.Env, o.Grace = append(o.Env, childVar+"="+pid), 200*time.Millisecond
	s, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(testkit.ReadFile(t, pid)))
	if err != nil {
		t.Fatal(err)
	}
	heir, err := os.FindProcess(n)
	if err != nil {
		t.Fatal(err)
	}
	defer heir.Kill()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil && !errors.Is(err, ErrProgram) {
			t.Errorf("Close() = %v, want nil or %v", err, ErrProgram)
		}
	case <-time.After(time.Minute):
		t.Error("Close() waits for a process that the program left behind")
	}
}

// A program that repeats what it was asked does not get the PIN into messages.
func TestPINNotRepeated(t *testing.T) {
	k := testkit.NewKey(t, "rsa")
	for mode, want := range map[string]error{"parrot": ErrProtocol, "loud parrot": ErrProgram, "refusing parrot": ErrRefused} {
		o := options(t, mode, k)
		o.PIN = "tulips"
		_, err := Start(context.Background(), o)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "open") || strings.Contains(err.Error(), o.PIN) {
			t.Errorf("Start(%s) = %v, want %v and the request without its PIN", mode, err, want)
		}
	}
}

// The protocol can be spoken by a shell script around openssl, as the
// document shows.
func TestScript(t *testing.T) {
	k := testkit.NewKey(t, "script")
	script := testkit.WriteFile(t, "signer.sh", testkit.ReadFile(t, "testdata/signer.sh"))
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	tools := filepath.Dir(testkit.Tool(t, "openssl"))
	s, err := Start(context.Background(), Options{Program: script, Key: k.KeyPEM, Env: append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
		t.Errorf("Sign = %v", err)
	}
	// The document shows the script that was tested.
	doc := string(testkit.ReadFile(t, filepath.Join(testkit.ModuleDir(t), "docs/signer-protocol.md")))
	_, body, _ := strings.Cut(string(testkit.ReadFile(t, script)), "\n\n")
	if !strings.Contains(doc, strings.TrimSpace(body)) {
		t.Error("docs/signer-protocol.md does not show testdata/signer.sh")
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"version":1,"public":"MFkw","certificates":["AA=="]}`))
	f.Add([]byte(`{"error":"no","code":"pin"}`))
	f.Add([]byte(`{"signature":null}`))
	key := testkit.NewKey(f, "fuzz")
	block, _ := pem.Decode(testkit.ReadFile(f, key.CertPEM))
	spki, err := x509.MarshalPKIXPublicKey(key.Signer.Public())
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(map[string]any{"version": 1, "public": spki, "certificates": [][]byte{block.Bytes}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b, "")
		if err != nil {
			return
		}
		if pub, certs, err := a.opened(); err == nil {
			if pub == nil || len(certs) > maxCertificates {
				t.Errorf("opened() = %v, %d certificates", pub, len(certs))
			}
			if check(pub, crypto.SHA256, make([]byte, 32), a.Signature) == nil {
				t.Error("a signature out of nothing is good")
			}
		}
	})
}
