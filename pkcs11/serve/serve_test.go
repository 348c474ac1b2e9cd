// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

type fake struct{ closed *int }

func (fake) Public() []byte         { return []byte("public") }
func (fake) Certificates() [][]byte { return [][]byte{[]byte("c")} }
func (f fake) Close() error         { *f.closed++; return nil }
func (fake) Sign(scheme, hash string, digest []byte) ([]byte, error) {
	if scheme != "ecdsa" {
		return nil, Errorf(CodeUnsupported, "scheme %s", scheme)
	}
	return append([]byte(hash), digest...), nil
}

func TestRun(t *testing.T) {
	closed := 0
	open := func(key, pin string) (Key, error) {
		if pin != "1" {
			return nil, Errorf(CodePIN, "wrong")
		}
		if key != "k" {
			return nil, errors.New("odd")
		}
		return fake{&closed}, nil
	}
	in := strings.Join([]string{
		`{"do":"sign"}`, `{"do":"open","version":2}`, `{"do":"open","version":1,"key":"k","pin":"2"}`, `{"do":"open","version":1,"key":"x","pin":"1"}`,
		`{"do":"open","version":1,"key":"k","pin":"1","more":1}`, `{"do":"open","version":1,"key":"k","pin":"1"}`,
		`{"do":"sign","scheme":"ecdsa","hash":"sha256","digest":"AQI="}`, `{"do":"sign","scheme":"pss"}`, `{"do":"dance"}`, `secret`, `"pin"`,
	}, "\n")
	want := strings.Join([]string{
		`{"error":"no key is open"}`, `{"error":"version 2 of the protocol, this program speaks 1","code":"unsupported"}`, `{"error":"wrong","code":"pin"}`, `{"error":"odd"}`,
		`{"version":1,"public":"cHVibGlj","certificates":["Yw=="]}`, `{"error":"a key is open already"}`,
		`{"signature":"c2hhMjU2AQI="}`, `{"error":"scheme pss","code":"unsupported"}`, `{"error":"request \"dance\" is not known","code":"unsupported"}`,
		`{"error":"the request is no JSON object of the protocol"}`, `{"error":"the request is no JSON object of the protocol"}`,
	}, "\n") + "\n"
	var out bytes.Buffer
	if err := Run(strings.NewReader(in), &out, open); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("Run answered\n%s, want\n%s", out.String(), want)
	}
	if closed != 1 {
		t.Errorf("the key was closed %d times, want once", closed)
	}
	if err := Run(strings.NewReader(strings.Repeat("x", MaxRequest+1)), io.Discard, open); err == nil {
		t.Error("Run(a request without end) = nil")
	}
}

func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"do":"open","version":1,"key":"k"}` + "\n" + `{"do":"sign","scheme":"ecdsa"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		closed := 0
		var out bytes.Buffer
		err := Run(bytes.NewReader(b), &out, func(_, _ string) (Key, error) { return fake{&closed}, nil })
		if err == nil && closed > 1 {
			t.Errorf("closed %d times", closed)
		}
	})
}
