// SPDX-License-Identifier: Apache-2.0

package external

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// DefaultTimeout is how long an answer may take: somebody may have to touch a
// token.
const DefaultTimeout = 2 * time.Minute

// DefaultGrace is what a program gets to end after its input was closed: it
// may have to take leave of a token.
const DefaultGrace = 10 * time.Second

// Options describe a program and a key.
type Options struct {
	// Program is a path, or a name to be found in PATH. Args are its
	// arguments; nothing secret belongs there.
	Program string
	Args    []string
	// Key names the key in the program's own way: for peel-pkcs11 a URI of
	// RFC 7512.
	Key string
	// PIN opens the key; "" leaves it to the program to know it.
	PIN string
	// Timeout for each answer; 0 is DefaultTimeout. Grace for its end; 0 is
	// DefaultGrace.
	Timeout, Grace time.Duration
	// Env is the program's environment; nil is this process's.
	Env []string
}

// Signer is a key behind a program. It is a crypto.Signer, safe for concurrent
// use; the program sees one request at a time.
type Signer struct {
	name           string
	pin            string // for hide
	timeout, grace time.Duration
	pub            crypto.PublicKey
	certs          []*x509.Certificate

	mu     sync.Mutex
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  <-chan line
	said   *tail
	cancel context.CancelFunc
	// killed is closed as soon as the program is to be killed.
	killed <-chan struct{}
	// broken is why the program cannot be asked again.
	broken error
}

// line is a line of the program's output, or why there is none.
type line struct {
	text []byte
	err  error
}

// Start starts the program and opens the key. The program lives until Close,
// or until the context ends. It fails with one of this package's errors.
func Start(ctx context.Context, o Options) (*Signer, error) {
	s := &Signer{name: filepath.Base(o.Program), pin: o.PIN, timeout: o.Timeout, grace: o.Grace, said: new(tail)}
	if s.timeout <= 0 {
		s.timeout = DefaultTimeout
	}
	if s.grace <= 0 {
		s.grace = DefaultGrace
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.killed = ctx.Done()
	if err := s.start(ctx, o); err != nil {
		s.cancel()
		return nil, err
	}
	a, err := s.ask(request{Do: doOpen, Version: Version, Key: o.Key, PIN: o.PIN})
	if err == nil {
		s.pub, s.certs, err = a.opened()
		err = s.named(err)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop(true))
	}
	return s, nil
}

func (s *Signer) start(ctx context.Context, o Options) error {
	s.cmd = exec.CommandContext(ctx, o.Program, o.Args...)
	s.cmd.Env = o.Env
	// A grandchild that keeps the pipes open is not waited for.
	s.cmd.WaitDelay = s.grace
	s.cmd.Stderr = s.said
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrProgram, s.name, err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrProgram, s.name, err)
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("%w %s: %w", ErrProgram, o.Program, err)
	}
	s.in = in
	ch := make(chan line)
	s.lines = ch
	go readLines(ctx, out, ch)
	return nil
}

// readLines ends with the program's output, a line that is too long, or the
// context. Then it closes the channel.
func readLines(ctx context.Context, out io.Reader, to chan<- line) {
	defer close(to)
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, MaxAnswer)
	for {
		l := line{err: io.EOF}
		if sc.Scan() {
			l = line{text: append([]byte(nil), sc.Bytes()...)}
		} else if sc.Err() != nil {
			l.err = sc.Err()
		}
		select {
		case to <- l:
		case <-ctx.Done():
			return
		}
		if l.err != nil {
			return
		}
	}
}

// ask sends a request and waits for its answer.
func (s *Signer) ask(r request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return answer{}, s.broken
	}
	b, err := json.Marshal(r)
	if err != nil {
		return answer{}, s.named(fmt.Errorf("%w: %w", ErrProtocol, err))
	}
	timeout := time.NewTimer(s.timeout)
	defer timeout.Stop()
	// A program that does not read must not hold this one up.
	sent := make(chan error, 1)
	go func() {
		_, err := s.in.Write(append(b, '\n'))
		sent <- err
	}()
	var l line
	var ok bool
	select {
	case l, ok = <-s.lines:
	case <-timeout.C:
		return answer{}, s.fail(fmt.Errorf("%w: no answer to %q within %v", ErrProgram, r.Do, s.timeout))
	}
	switch {
	case errors.Is(l.err, bufio.ErrTooLong):
		return answer{}, s.fail(fmt.Errorf("%w: an answer of more than 0x%x bytes to %q", ErrProtocol, MaxAnswer, r.Do))
	case !ok || l.err != nil:
		// It has closed its output: how it ends tells more.
		return answer{}, s.fail(s.ended(r.Do))
	}
	select {
	case err = <-sent:
	case <-timeout.C:
		err = errors.New("it does not read")
	}
	if err != nil {
		return answer{}, s.fail(fmt.Errorf("%w: send %q: %w", ErrProgram, r.Do, err))
	}
	a, err := parseAnswer(l.text, s.pin)
	if errors.Is(err, ErrProtocol) {
		return a, s.fail(err)
	}
	return a, s.named(err)
}

// ended explains why there is no answer.
func (s *Signer) ended(do string) error {
	if err := s.wait(); err != nil {
		return fmt.Errorf("%w: it ended without an answer to %q: %w", ErrProgram, do, err)
	}
	return fmt.Errorf("%w: it ended without an answer to %q", ErrProgram, do)
}

// fail remembers that the program is of no use any more, and ends it.
func (s *Signer) fail(err error) error {
	s.cancel()
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Wait() // it was killed; err tells why
	}
	s.broken = s.quoted(s.named(err))
	return s.broken
}

// quoted adds to an error what the program said on standard error.
func (s *Signer) quoted(err error) error {
	if said := printable(hide(s.said.String(), s.pin)); said != "" {
		return fmt.Errorf("%w (it said: %s)", err, said)
	}
	return err
}

func (s *Signer) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

// Public returns *rsa.PublicKey or *ecdsa.PublicKey.
func (s *Signer) Public() crypto.PublicKey { return s.pub }

// Certificates returns those that the program knows for the key, the key's own
// first. There may be none.
func (s *Signer) Certificates() []*x509.Certificate { return s.certs }

// Sign signs a digest: PKCS #1 v1.5 with an RSA key, else ECDSA in DER. Random
// numbers are the program's own.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	h := opts.HashFunc()
	if _, pss := opts.(*rsa.PSSOptions); pss || hashName(h) == "" {
		return nil, s.named(fmt.Errorf("%w: signatures by %T with hash %v", ErrUnsupported, opts, h))
	}
	if len(digest) != h.Size() {
		return nil, s.named(fmt.Errorf("%w: digest of 0x%x bytes, %v has 0x%x", ErrUnsupported, len(digest), h, h.Size()))
	}
	scheme := "ecdsa"
	if _, ok := s.pub.(*rsa.PublicKey); ok {
		scheme = "rsa-pkcs1v15"
	}
	a, err := s.ask(request{Do: doSign, Scheme: scheme, Hash: hashName(h), Digest: digest})
	if err != nil {
		return nil, err
	}
	if err := check(s.pub, h, digest, a.Signature); err != nil {
		return nil, s.named(err)
	}
	return a.Signature, nil
}

// Close ends the program. It fails with ErrProgram when the program did not
// end by itself and well.
func (s *Signer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil // told already
	}
	s.broken = s.named(fmt.Errorf("%w: closed", ErrProgram))
	return s.stop(false)
}

// stop lets the program end.
func (s *Signer) stop(quiet bool) error {
	if s.cmd.ProcessState != nil {
		return nil
	}
	err := s.wait()
	if err != nil && !quiet {
		return s.quoted(s.named(fmt.Errorf("%w: %w", ErrProgram, err)))
	}
	return nil
}

// wait closes the program's input, which tells it to end, waits for a moment,
// then makes it end.
func (s *Signer) wait() error {
	s.in.Close()
	late := time.AfterFunc(s.grace, s.cancel)
	defer late.Stop()
	// It may still be writing. A process that it started may hold its output
	// open, too, for longer than anybody waits.
	for more := true; more; {
		select {
		case _, more = <-s.lines:
		case <-s.killed:
			more = false
		}
	}
	err := s.cmd.Wait()
	s.cancel()
	return err
}

// tail keeps the last bytes that were written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - maxText; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
