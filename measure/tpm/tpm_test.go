// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

func TestExtend(t *testing.T) {
	d, err := Open(testkit.SoftwareTPM(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	banks, err := d.Banks()
	if err != nil || len(banks) == 0 {
		t.Fatalf("Banks() = %v, %v", banks, err)
	}
	var all []uint32
	for i := range uint32(24) {
		all = append(all, i)
	}
	before, err := d.Read(banks, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range banks {
		for _, pcr := range all {
			if got := before[h][pcr]; !bytes.Equal(got, eventlog.Initial(h, pcr)) {
				t.Errorf("PCR %d of %s is %s after the start", pcr, h, got)
			}
		}
	}
	events := append(measure.PhaseEvents(banks, "enter-initrd:leave-initrd"),
		eventlog.NewEvent(12, eventlog.NoAction, banks, []byte("nothing")),
		measure.Separator(banks, 12))
	if n, err := d.Extend(events); n != 4 || err != nil {
		t.Fatalf("Extend() = %d, %v, want 4", n, err)
	}
	log := eventlog.Log{Banks: banks, Events: events}
	want, err := log.ReplayAll()
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Read(banks, []uint32{11, 12})
	if err != nil {
		t.Fatal(err)
	}
	checks := measure.CheckValues(want, got)
	if len(checks) != 2*len(banks) {
		t.Errorf("%d checks, want %d", len(checks), 2*len(banks))
	}
	for _, c := range checks {
		if !c.OK {
			t.Errorf("PCR %d of %s = %s, replay gives %s", c.PCR, c.Bank, c.Got, c.Want)
		}
	}
}

// TestPolicyDigest: the policy that is computed is the one that the TPM makes of its registers.
func TestPolicyDigest(t *testing.T) {
	d, err := Open(testkit.SoftwareTPM(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	banks := []eventlog.Hash{eventlog.SHA256}
	events := measure.PhaseEvents(eventlog.Banks(), "enter-initrd")
	if _, err := d.Extend(events); err != nil {
		t.Fatal(err)
	}
	values, err := d.Read(banks, []uint32{7, 11, 12})
	if err != nil {
		t.Fatal(err)
	}
	session, done, err := tpm2.PolicySession(d.conn, tpm2.TPMAlgSHA256, 16)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(7, 11, 12),
	}}}}).Execute(d.conn); err != nil {
		t.Fatal(err)
	}
	want, err := tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute(d.conn)
	if err != nil {
		t.Fatal(err)
	}
	if got := measure.PolicyDigest(eventlog.SHA256, values[eventlog.SHA256]); !bytes.Equal(got, want.PolicyDigest.Buffer) {
		t.Errorf("PolicyDigest() = %x, the TPM says %x", got, want.PolicyDigest.Buffer)
	}
}

func TestErrors(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrNone) {
		t.Errorf("Open(nothing) = %v, want %v", err, ErrNone)
	}
	d, err := Open(testkit.ColdTPM(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = d.Read([]eventlog.Hash{eventlog.SHA256}, []uint32{0})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not started") {
		t.Errorf("Read(TPM that was not started) = %v, want %v and why", err, ErrRefused)
	}
	e := eventlog.NewEvent(200, eventlog.IPL, []eventlog.Hash{eventlog.SHA256}, nil, []byte("x"))
	if n, err := d.Extend([]eventlog.Event{e}); n != 0 || !errors.Is(err, ErrRefused) {
		t.Errorf("Extend(PCR 200) = %d, %v, want %v", n, err, ErrRefused)
	}
}

// TestGarbage: an answer that is none does not take the program down.
func TestGarbage(t *testing.T) {
	for _, answer := range [][]byte{{}, []byte("garbage"), bytes.Repeat([]byte{0xff}, 100), {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0}} {
		ours, theirs := net.Pipe()
		go func() {
			b := make([]byte, 4096)
			_, _ = theirs.Read(b)
			_, _ = theirs.Write(answer)
			theirs.Close()
		}()
		d := New("garbage", transport.FromReadWriteCloser(ours))
		if b, err := d.Banks(); err == nil {
			t.Errorf("Banks() of %x = %v", answer, b)
		}
		d.Close()
	}
}
