// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"testing"

	"github.com/peelboot/peel/measure/eventlog"
)

// TestVerifyIMAWithoutCode: a kernel that had no SHA-512 when IMA started has
// extended that bank with SHA-1 digests and zeros.
func TestVerifyIMAWithoutCode(t *testing.T) {
	data := []byte("template data")
	e := eventlog.Event{PCR: eventlog.PCRIMA, Content: eventlog.IMATemplate, Template: "ima-ng", Data: data}
	for _, h := range eventlog.Banks() {
		e.Digests = append(e.Digests, eventlog.Digest{Hash: h, Value: h.Sum(data)})
	}
	l := &eventlog.Log{Format: eventlog.IMA, Banks: eventlog.Banks(), Events: []eventlog.Event{e}}
	got, err := l.ReplayAll()
	if err != nil {
		t.Fatal(err)
	}
	short := append(eventlog.SHA1.Sum(data), make([]byte, 44)...)
	got[eventlog.SHA512][eventlog.PCRIMA] = eventlog.SHA512.Extend(eventlog.Initial(eventlog.SHA512, eventlog.PCRIMA), short)
	if v, err := Verify(l, got); err != nil || !v.OK() || len(v.Checks) != len(l.Banks) {
		t.Errorf("Verify() = %+v, %v, want all registers right", v, err)
	}
	short[0] ^= 1
	got[eventlog.SHA512][eventlog.PCRIMA] = eventlog.SHA512.Extend(eventlog.Initial(eventlog.SHA512, eventlog.PCRIMA), short)
	if v, err := Verify(l, got); err != nil || v.OK() {
		t.Errorf("Verify() of another digest = %+v, %v, want a register wrong", v, err)
	}
}
