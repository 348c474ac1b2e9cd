// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// publicLogs are the logs of testdata/public, by name.
func publicLogs(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/public/*.bin")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, p := range paths {
		out[strings.TrimSuffix(filepath.Base(p), ".bin")] = testdata(t, filepath.Join("public", filepath.Base(p)))
	}
	return out
}

// TestPublicLogs: logs of machines elsewhere replay to the registers that were read there.
func TestPublicLogs(t *testing.T) {
	var pcrs map[string]map[Hash]map[string]string
	if err := json.Unmarshal(testdata(t, "public/pcrs.json"), &pcrs); err != nil {
		t.Fatal(err)
	}
	logs := publicLogs(t)
	for _, tt := range []struct {
		name   string
		format Format
		events int
		// registers that were read, of all banks; 0 when nobody wrote them down
		registers int
		// events with a digest that is not of what is logged: shim 15.0 logs one zero more of a variable than it measures
		inconsistent int
	}{
		{"arch-workstation", TCG2, 24, 18, 0},
		{"cos-101-sev", TCG2, 48, 22, 0},
		{"cos-113-tdx", TCG2, 43, 3, 0},
		{"crypto-agile", TCG2, 26, 0, 0},
		{"debian-10", TCG12, 25, 8, 1},
		{"glinux-laptop", TCG2, 28, 16, 0},
		{"no-exit-boot-services", TCG12, 38, 0, 0},
		{"rhel-8", TCG2, 82, 22, 0},
		{"short-no-action", TCG12, 1, 0, 0},
		{"tpm12-linux", TCG12, 40, 24, 0},
		{"ubuntu-2404-snp", TCG2, 116, 22, 0},
		{"windows-gcp", TCG12, 21, 24, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := logs[tt.name]
			delete(logs, tt.name)
			l, err := Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if l.Format != tt.format || len(l.Events) != tt.events {
				t.Errorf("Read() = %s with %d events, want %s with %d", l.Format, len(l.Events), tt.format, tt.events)
			}
			inconsistent := 0
			for i := range l.Events {
				if ok, checked := l.Events[i].Consistent(); checked && !ok {
					inconsistent++
				}
			}
			if inconsistent != tt.inconsistent {
				t.Errorf("%d events with a digest of something else, want %d", inconsistent, tt.inconsistent)
			}
			registers := 0
			for h, regs := range pcrs[tt.name] {
				got, err := l.Replay(h)
				if err != nil {
					t.Fatal(err)
				}
				for number, want := range regs {
					n, err := strconv.ParseUint(number, 10, 32)
					if err != nil {
						t.Fatal(err)
					}
					registers++
					v, ok := got[uint32(n)]
					if !ok {
						v = Initial(h, uint32(n))
					}
					// Linux extends PCR 10 with IMA's list; the firmware's log does not have it.
					if v.String() != want && n != PCRIMA {
						t.Errorf("Replay(%s)[%d] = %s, want %s", h, n, v, want)
					}
				}
			}
			if registers != tt.registers {
				t.Errorf("%d registers compared, want %d", registers, tt.registers)
			}
		})
	}
	for name := range logs {
		t.Errorf("nothing is known of testdata/public/%s.bin", name)
	}
}
