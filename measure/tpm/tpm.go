// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/peelboot/peel/measure/eventlog"
)

// Errors of this package. Each is wrapped with what was tried.
var (
	// ErrNone: there is no TPM, or the kernel does not drive it.
	ErrNone = errors.New("no TPM")
	// ErrPermission: the TPM is there and may not be opened.
	ErrPermission = errors.New("TPM may not be used")
	// ErrRefused: the TPM said no to a command.
	ErrRefused = errors.New("TPM refused")
	// ErrChanged: registers changed while they were read.
	ErrChanged = errors.New("TPM registers changed meanwhile")
)

// Device is the device of the kernel's resource manager, which several
// programs can use at a time.
const Device = "/dev/tpmrm0"

// dialTimeout bounds the wait for a socket.
const dialTimeout = 10 * time.Second

// TPM is an open TPM. It is not safe for concurrent use.
type TPM struct {
	name string
	conn transport.TPMCloser
}

// Open opens a TPM: a device, a Unix socket, or HOST:PORT of an emulator's
// data channel; "" is Device. The TPM must have been started, which the kernel
// and firmware do.
func Open(name string) (*TPM, error) {
	if name == "" {
		name = Device
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && info.Mode()&fs.ModeSocket != 0:
		return dial("unix", name)
	case err == nil:
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, explainOpen(name, err)
		}
		return New(name, transport.FromReadWriteCloser(f)), nil
	case errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(name, "/") && strings.Contains(name, ":"):
		return dial("tcp", name)
	}
	return nil, explainOpen(name, err)
}

// New makes a TPM of a connection, such as a simulator's.
func New(name string, conn transport.TPMCloser) *TPM { return &TPM{name, conn} }

func dial(network, address string) (*TPM, error) {
	c, err := net.DialTimeout(network, address, dialTimeout)
	if err != nil {
		return nil, explainOpen(address, err)
	}
	return New(address, transport.FromReadWriteCloser(c)), nil
}

func explainOpen(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: root or the group tss may: %w", name, ErrPermission, err)
	case errors.Is(err, fs.ErrNotExist) && name == Device:
		if m, _ := filepath.Glob("/dev/tpm[0-9]*"); len(m) > 0 {
			return fmt.Errorf("%s: %w with a resource manager, there is %s: a TPM 1.2, or a kernel without CONFIG_TCG_TPM2: %w", name, ErrNone, m[0], err)
		}
		return fmt.Errorf("%s: %w: switched off in the firmware, or its driver is not loaded: %w", name, ErrNone, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w there: %w", name, ErrNone, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Close closes the connection.
func (t *TPM) Close() error { return t.conn.Close() }

// refused explains an error of a command.
func (t *TPM) refused(what string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, tpm2.TPMRCInitialize):
		hint = ": it was not started (TPM2_Startup)"
	case errors.Is(err, tpm2.TPMRCFailure):
		hint = ": it is in failure mode until the next reset"
	case errors.Is(err, tpm2.TPMRCLocality):
		hint = ": this register is for another locality"
	case errors.Is(err, tpm2.TPMRCLockout):
		hint = ": it is locked out after wrong passwords"
	}
	return fmt.Errorf("%s: %s: %w%s: %w", t.name, what, ErrRefused, hint, err)
}

// Banks returns the algorithms of the banks that have registers, in the order
// of their numbers.
func (t *TPM) Banks() ([]eventlog.Hash, error) {
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1}.Execute(t.conn)
	if err != nil {
		return nil, t.refused("list banks", err)
	}
	list, err := rsp.CapabilityData.Data.AssignedPCR()
	if err != nil {
		return nil, t.refused("list banks", err)
	}
	var out []eventlog.Hash
	for _, s := range list.PCRSelections {
		if slices.ContainsFunc(s.PCRSelect, func(b byte) bool { return b != 0 }) {
			out = append(out, eventlog.Hash(s.Hash))
		}
	}
	slices.Sort(out)
	return out, nil
}

// perRead is the number of digests that every TPM gives at a time.
const perRead = 8

// maxTries bounds reading while somebody extends.
const maxTries = 5

// Read reads registers of several banks. All values are of one moment: it
// fails with ErrChanged when registers keep changing while it reads.
func (t *TPM) Read(banks []eventlog.Hash, pcrs []uint32) (eventlog.Values, error) {
	for range maxTries {
		v, steady, err := t.read(banks, pcrs)
		if err != nil {
			return nil, err
		}
		if steady {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%s: %w, %d times", t.name, ErrChanged, maxTries)
}

func (t *TPM) read(banks []eventlog.Hash, pcrs []uint32) (eventlog.Values, bool, error) {
	v := eventlog.Values{}
	var counter uint32
	first := true
	for _, h := range banks {
		v[h] = eventlog.Registers{}
		for rest := slices.Clone(pcrs); len(rest) > 0; {
			n := min(len(rest), perRead)
			var want []uint
			for _, p := range rest[:n] {
				want = append(want, uint(p))
			}
			slices.Sort(want)
			rest = rest[n:]
			rsp, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
				Hash: tpm2.TPMAlgID(h), PCRSelect: tpm2.PCClientCompatible.PCRs(want...),
			}}}}.Execute(t.conn)
			if err != nil {
				return nil, false, t.refused(fmt.Sprintf("read PCRs %v of %s", want, h), err)
			}
			if len(rsp.PCRValues.Digests) != len(want) {
				return nil, false, fmt.Errorf("%s: %d registers of bank %s, asked for %v: %w: it does not have them all",
					t.name, len(rsp.PCRValues.Digests), h, want, ErrRefused)
			}
			for i, d := range rsp.PCRValues.Digests {
				v[h][uint32(want[i])] = d.Buffer
			}
			if !first && counter != rsp.PCRUpdateCounter {
				return nil, false, nil
			}
			first, counter = false, rsp.PCRUpdateCounter
		}
	}
	return v, true, nil
}

// Extend extends the registers with the digests of events, in order; events
// that extend nothing are passed over. There is no way back: on failure the
// error says how many events were extended, which done is as well.
func (t *TPM) Extend(events []eventlog.Event) (done int, err error) {
	for i := range events {
		e := &events[i]
		if !e.Extends() {
			done++
			continue
		}
		var values tpm2.TPMLDigestValues
		for _, d := range e.Digests {
			values.Digests = append(values.Digests, tpm2.TPMTHA{HashAlg: tpm2.TPMAlgID(d.Hash), Digest: d.Value})
		}
		_, err := tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(e.PCR), Auth: tpm2.PasswordAuth(nil)},
			Digests:   values,
		}.Execute(t.conn)
		if err != nil {
			return done, t.refused(fmt.Sprintf("extend PCR %d (event %d of %d)", e.PCR, done+1, len(events)), err)
		}
		done++
	}
	return done, nil
}
