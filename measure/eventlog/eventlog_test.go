// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/peelboot/peel/internal/testkit"
)

// realLog is the log of OVMF (Debian 13) with Secure Boot that started a UKI
// with an addon, credentials and extensions on swtpm; realPCRs is what Linux
// read from the TPM then.
const (
	realLog  = "ovmf-secureboot-uki.bin"
	realPCRs = "ovmf-secureboot-uki.pcrs.json"
)

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReplayOfRealLog(t *testing.T) {
	l, err := Read(testdata(t, realLog))
	if err != nil {
		t.Fatal(err)
	}
	if l.Format != TCG2 || len(l.Events) != 48 || len(l.Banks) != 4 {
		t.Errorf("Read() = %s, %d events, banks %v", l.Format, len(l.Events), l.Banks)
	}
	var pcrs map[string]map[string]string
	if err := json.Unmarshal(testdata(t, realPCRs), &pcrs); err != nil {
		t.Fatal(err)
	}
	all, err := l.ReplayAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range Banks() {
		for pcr, want := range pcrs[h.String()] {
			var n uint32
			fmt.Sscan(pcr, &n)
			got, ok := all[h][n]
			if !ok {
				got = Initial(h, n)
			}
			// Linux itself extends PCR 10 with IMA's aggregate; the firmware's log does not have it.
			if n != PCRIMA && got.String() != want {
				t.Errorf("Replay(%s)[%d] = %s, want %s", h, n, got, want)
			}
		}
	}
	for i, e := range l.Events {
		if ok, checked := e.Consistent(); checked && !ok {
			t.Errorf("event %d, %s: digest is not that of its data", i, e.Type)
		}
	}
}

func TestDescribeRealLog(t *testing.T) {
	l, err := Read(testdata(t, realLog))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range l.Events {
		e := &l.Events[i]
		lines = append(lines, fmt.Sprintf("%d %s %s", e.PCR, e.Type, e.Describe()))
	}
	all := strings.Join(lines, "\n")
	for _, want := range []string{
		"7 EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c, 1 bytes",
		`4 EV_EFI_BOOT_SERVICES_APPLICATION \EFI\BOOT\BOOTX64.EFI`,
		"11 EV_IPL .linux",
		"12 EV_IPL addon=1",
		"9 EV_EVENT_TAG tag 0x8f3b22ec Linux initrd",
		"4 EV_EFI_ACTION Calling EFI Application from Boot Option",
		"4 EV_SEPARATOR end of the firmware's own measurements",
		"0 EV_S_CRTM_VERSION 2025.02-8+deb13u1",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no line %q in\n%s", want, all)
		}
	}
}

// same compares what formats can tell.
func same(t *testing.T, what string, got, want *Log) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Log{}), cmpopts.IgnoreFields(Log{}, "Format", "Class"), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestFormatsTellTheSame(t *testing.T) {
	raw := testdata(t, realLog)
	l, err := Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	out, err := l.WriteTCG()
	if err != nil {
		t.Fatal(err)
	}
	// OVMF writes the same header, so that the copy is byte for byte.
	if !bytes.Equal(out, raw) {
		t.Error("WriteTCG(ReadTCG(log)) is not the log")
	}
	for name, write := range map[Format]func() ([]byte, error){CELJSON: l.WriteCELJSON, CELCBOR: l.WriteCELCBOR, TCG2: l.WriteTCG} {
		b, err := write()
		if err != nil {
			t.Fatal(err)
		}
		if got := Detect(b); got != name {
			t.Errorf("Detect(%s) = %s", name, got)
		}
		back, err := Read(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(t, string(name), back, l)
	}
}

// TestPcrlock: systemd's own tool, given the same firmware log, says the same in its Canonical Event Log.
func TestPcrlock(t *testing.T) {
	log, err := filepath.Abs(filepath.Join("testdata", realLog))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testkit.Tool(t, "systemd-pcrlock"), "cel", "--json=short")
	cmd.Env = append(os.Environ(), "SYSTEMD_MEASURE_LOG_FIRMWARE="+log, "SYSTEMD_MEASURE_LOG_USERSPACE=/nonexistent")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("systemd-pcrlock cel: %v", err)
	}
	theirs, err := Read(out)
	if err != nil {
		t.Fatalf("Read(systemd-pcrlock's log) = %v", err)
	}
	ours, err := Read(testdata(t, realLog))
	if err != nil {
		t.Fatal(err)
	}
	byHash := cmpopts.SortSlices(func(a, b Digest) bool { return a.Hash < b.Hash })
	if d := cmp.Diff(ours.Events, theirs.Events, byHash, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("systemd-pcrlock tells another story (-peel +systemd):\n%s", d)
	}
}

func TestCELTexts(t *testing.T) {
	const digest = `"digests":[{"hashAlg":"sha1","digest":"0102030405060708090a0b0c0d0e0f1011121314"}]`
	phase := "\x1e{\"pcr\":11," + digest + `,"content_type":"systemd","content":{"string":"enter-initrd","eventType":"phase"}}` + "\n"
	l, err := Read([]byte(phase + phase))
	if err != nil || len(l.Events) != 2 || l.Events[1].Describe() != "phase enter-initrd" {
		t.Errorf("Read(systemd's log) = %+v, %v", l, err)
	}
	if b, err := l.WriteCELCBOR(); err != nil {
		t.Error(err)
	} else if back, err := Read(b); err != nil {
		t.Error(err)
	} else {
		same(t, "systemd's log in CBOR", back, l)
	}
	for _, tc := range []struct {
		name, text string
		want       error
	}{
		{"number as type", `[{"pcr":4,` + digest + `,"content_type":"pcclient_std","content":{"event_type":13,"event_data":"AAE="}}]`, nil},
		{"NV index", `[{"nv_index":25165824,` + digest + `,"content_type":"cel"}]`, nil},
		{"no register", `[{` + digest + `,"content_type":"cel"}]`, ErrSyntax},
		{"register 32", `[{"pcr":32,` + digest + `,"content_type":"cel"}]`, ErrSyntax},
		{"no digest", `[{"pcr":3,"digests":[],"content_type":"cel"}]`, ErrSyntax},
		{"short digest", `[{"pcr":3,"digests":[{"hashAlg":"sha256","digest":"00"}],"content_type":"cel"}]`, ErrSyntax},
		{"unknown algorithm", `[{"pcr":3,"digests":[{"hashAlg":"md5","digest":"00"}],"content_type":"cel"}]`, ErrHash},
		{"cut", `[{"pcr":4,`, ErrSyntax},
		{"no end", `[`, ErrTruncated},
		{"unknown type", `[{"pcr":4,` + digest + `,"content_type":"pcclient_std","content":{"event_type":"EV_NONE","event_data":""}}]`, ErrSyntax},
	} {
		if l, err := Read([]byte(tc.text)); !errors.Is(err, tc.want) {
			t.Errorf("%s: Read() = %v, %v, want %v", tc.name, l, err, tc.want)
		}
	}
}

// imaList is a list with one measurement of each kind, as ima_fs.c writes it.
func imaList() []byte {
	le := binary.LittleEndian
	field := func(b, f []byte) []byte { return append(le.AppendUint32(b, uint32(len(f))), f...) }
	ng := field(field(nil, append([]byte("sha256:\x00"), make([]byte, 32)...)), []byte("/usr/bin/true\x00"))
	var out []byte
	for _, digest := range [][]byte{SHA1.Sum(ng), make([]byte, 20)} {
		out = append(le.AppendUint32(out, PCRIMA), digest...)
		out = field(field(out, []byte("ima-ng")), ng)
	}
	old := append(make([]byte, 20), "\x05\x00\x00\x00/init"...)
	hashed := append(make([]byte, 20), append([]byte("/init"), make([]byte, 251)...)...)
	out = append(le.AppendUint32(out, PCRIMA), SHA1.Sum(hashed)...)
	return append(field(out, []byte("ima")), old...)
}

// TestPadIMA: a violation extends with ones all the same, and a bank of SHA-1
// has no other form.
func TestPadIMA(t *testing.T) {
	l, err := Read(imaList())
	if err != nil {
		t.Fatal(err)
	}
	padded, ok := l.PadIMA(SHA512)
	if !ok {
		t.Fatal("PadIMA(SHA-512) = false")
	}
	want := make([]byte, 64)
	for i := range l.Events {
		d, _ := l.Events[i].Digest(SHA1)
		in := append(bytes.Clone(d), make([]byte, 44)...)
		if i == 1 {
			in = bytes.Repeat([]byte{0xff}, 64)
		}
		want = SHA512.Sum(append(bytes.Clone(want), in...))
	}
	got, err := padded.Replay(SHA512)
	if err != nil || !bytes.Equal(got[PCRIMA], want) {
		t.Errorf("Replay() = %v, %v, want %x", got, err, want)
	}
	if again, err := l.Replay(SHA512); err != nil || bytes.Equal(again[PCRIMA], want) {
		t.Errorf("PadIMA() changed its log: %v, %v", again, err)
	}
	if _, ok := l.PadIMA(SHA1); ok {
		t.Error("PadIMA(SHA-1) = true")
	}
}

func TestIMA(t *testing.T) {
	b := imaList()
	if got := Detect(b); got != IMA {
		t.Fatalf("Detect() = %q", got)
	}
	l, err := Read(b)
	if err != nil || len(l.Events) != 3 {
		t.Fatalf("Read() = %+v, %v", l, err)
	}
	if got, want := l.Events[0].Describe(), "/usr/bin/true sha256"; got != want {
		t.Errorf("Describe() = %q, want %q", got, want)
	}
	if got, want := l.Events[2].Describe(), "/init"; got != want {
		t.Errorf("Describe() = %q, want %q", got, want)
	}
	for _, h := range Banks() {
		data := l.Events[0].Data
		v := h.Extend(make([]byte, h.Size()), h.Sum(data))
		v = h.Extend(v, bytes.Repeat([]byte{0xff}, h.Size()))
		old := append(make([]byte, 20), append([]byte("/init"), make([]byte, 251)...)...)
		v = h.Extend(v, h.Sum(old))
		r, err := l.Replay(h)
		if err != nil || !bytes.Equal(r[PCRIMA], v) {
			t.Errorf("Replay(%s) = %v, %v, want %x", h, r, err, v)
		}
	}
	for n := range b {
		if l, err := ReadIMA(b[:n]); err == nil && len(l.Events) == 3 {
			t.Errorf("ReadIMA(%d of %d bytes) reads all", n, len(b))
		}
	}
}

func TestStartupLocality(t *testing.T) {
	l := &Log{Banks: []Hash{SHA256}, Events: []Event{
		NewEvent(0, NoAction, []Hash{SHA256}, append([]byte(startupLocality), 3)),
		NewEvent(0, SCRTMVersion, []Hash{SHA256}, []byte("v"), []byte("v")),
	}}
	start := make([]byte, 32)
	start[31] = 3
	want := SHA256.Extend(start, SHA256.Sum([]byte("v")))
	if r, err := l.Replay(SHA256); err != nil || !bytes.Equal(r[0], want) {
		t.Errorf("Replay() = %v, %v, want %x", r, err, want)
	}
	if got := Initial(SHA1, 20); !bytes.Equal(got, bytes.Repeat([]byte{0xff}, 20)) {
		t.Errorf("Initial(20) = %x", got)
	}
}

func TestConsistent(t *testing.T) {
	e := NewEvent(7, Separator, Banks(), []byte{0, 0, 0, 0}, []byte{0, 0, 0, 0})
	if ok, checked := e.Consistent(); !ok || !checked {
		t.Error("an honest separator is called inconsistent")
	}
	e.Data = []byte{0, 0, 0, 1}
	if ok, checked := e.Consistent(); ok || !checked {
		t.Error("a separator with a digest of other data is called consistent")
	}
}

// TestHostileTCG: sizes that lie fail with an error that says where.
func TestHostileTCG(t *testing.T) {
	raw := testdata(t, realLog)
	le := binary.LittleEndian
	first := uint64(32) + uint64(le.Uint32(raw[28:]))
	put := func(off uint64, v uint32) []byte {
		b := bytes.Clone(raw)
		le.PutUint32(b[off:], v)
		return b
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want error
	}{
		{"size of spec ID", put(28, 0xffffffff), ErrTruncated},
		{"short spec ID", put(28, 20), ErrSyntax},
		{"algorithms", put(56, 0x40000001), ErrSyntax},
		{"no algorithm", put(56, 0), ErrSyntax},
		{"size of an algorithm", put(60, 0x00150004), ErrSyntax},
		{"same algorithm twice", put(64, 0x00140004), ErrSyntax},
		{"register", put(first, 32), ErrSyntax},
		{"digests", put(first+8, 0xffffffff), ErrSyntax},
		{"fewer digests", put(first+8, 3), ErrSyntax},
		{"algorithm of a digest", put(first+12, 0x12), ErrSyntax},
		{"size of data", put(first+12+4*2+20+32+48+64, 0xfffffff0), ErrTruncated},
		{"cut", raw[:len(raw)-1], ErrTruncated},
	} {
		if l, err := ReadTCG(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: ReadTCG() = %v, %v, want %v", tc.name, l, err, tc.want)
		}
	}
	for _, pad := range []byte{0, 0xff} {
		if l, err := ReadTCG(append(bytes.Clone(raw), bytes.Repeat([]byte{pad}, 100)...)); err != nil || len(l.Events) != 48 {
			t.Errorf("ReadTCG(log with 0x%02x behind) = %v", pad, err)
		}
	}
	for _, b := range [][]byte{nil, []byte("text"), make([]byte, 100)} {
		if _, err := Read(b); !errors.Is(err, ErrUnknown) {
			t.Errorf("Read(%q) = %v, want %v", b, err, ErrUnknown)
		}
	}
}

func TestTCG12(t *testing.T) {
	le := binary.LittleEndian
	var b []byte
	for _, data := range []string{"one", "two"} {
		b = le.AppendUint32(le.AppendUint32(b, 4), uint32(Action))
		b = append(b, SHA1.Sum([]byte(data))...)
		b = append(le.AppendUint32(b, uint32(len(data))), data...)
	}
	l, err := Read(b)
	if err != nil || l.Format != TCG12 || len(l.Events) != 2 || l.Events[1].Describe() != "two" {
		t.Fatalf("Read() = %+v, %v", l, err)
	}
	v := SHA1.Extend(SHA1.Extend(make([]byte, 20), SHA1.Sum([]byte("one"))), SHA1.Sum([]byte("two")))
	if r, err := l.Replay(SHA1); err != nil || !bytes.Equal(r[4], v) {
		t.Errorf("Replay() = %v, %v", r, err)
	}
	if _, err := l.Replay(SHA256); !errors.Is(err, ErrHash) {
		t.Errorf("Replay(sha256) = %v, want %v", err, ErrHash)
	}
	if _, err := l.WriteTCG(); err != nil {
		t.Error(err)
	}
}

// TestNoActionOfNoRegister: an event that changes no register may name one that
// there is not; found by FuzzRead in a log that was written as CEL and not read
// back.
func TestNoActionOfNoRegister(t *testing.T) {
	none := NewEvent(0xffffffff, NoAction, []Hash{SHA256}, []byte("SP800-155 Event3"))
	some := NewEvent(32, EFIAction, []Hash{SHA256}, []byte("x"))
	for _, write := range []func(*Log) ([]byte, error){(*Log).WriteTCG, (*Log).WriteCELJSON, (*Log).WriteCELCBOR} {
		b, err := write(&Log{Banks: []Hash{SHA256}, Events: []Event{none}})
		if err != nil {
			t.Fatal(err)
		}
		if l, err := Read(b); err != nil || len(l.Events) != 1 || l.Events[0].PCR != none.PCR {
			t.Errorf("Read(%.80q) = %+v, %v, want one event of PCR %d", b, l, err, none.PCR)
		}
		if b, err = write(&Log{Banks: []Hash{SHA256}, Events: []Event{some}}); err != nil {
			continue
		}
		if _, err := Read(b); !errors.Is(err, ErrSyntax) {
			t.Errorf("Read(%.80q) = %v, want ErrSyntax", b, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	raw := testdata(f, realLog)
	f.Add(raw)
	f.Add(raw[:500])
	f.Add(imaList())
	for _, b := range publicLogs(f) {
		f.Add(b)
		l, err := Read(b)
		if err != nil {
			f.Fatal(err)
		}
		for _, w := range []func() ([]byte, error){l.WriteCELCBOR, l.WriteCELJSON} {
			if b, err := w(); err == nil {
				f.Add(b)
			}
		}
	}
	if l, err := Read(raw); err == nil {
		l.Events = l.Events[:5]
		for _, w := range []func() ([]byte, error){l.WriteCELCBOR, l.WriteCELJSON} {
			if b, err := w(); err == nil {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Read(b)
		if err != nil {
			return
		}
		for i := range l.Events {
			e := &l.Events[i]
			if s := e.Describe(); strings.ContainsAny(s, "\n\x1b\x00") {
				t.Errorf("Describe() = %q", s)
			}
			e.Consistent()
		}
		if _, err := l.ReplayAll(); err != nil {
			t.Errorf("ReplayAll() = %v", err)
		}
		for _, write := range []func() ([]byte, error){l.WriteTCG, l.WriteCELJSON, l.WriteCELCBOR} {
			out, err := write()
			if err != nil || len(l.Events) == 0 {
				continue
			}
			back, err := Read(out)
			if err != nil {
				t.Fatalf("Read(Write()) = %v\n%q", err, out)
			}
			if len(back.Events) != len(l.Events) {
				t.Errorf("%d events, want %d", len(back.Events), len(l.Events))
			}
		}
	})
}

func BenchmarkReadTCG(b *testing.B) {
	raw := testdata(b, realLog)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := ReadTCG(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDescribeNote(t *testing.T) {
	inner := NewEvent(11, IPL, []Hash{SHA256}, UTF16(".linux"), []byte("kernel"))
	data, err := json.Marshal(inner)
	if err != nil {
		t.Fatal(err)
	}
	nested, err := json.Marshal(NewEvent(11, NoAction, []Hash{SHA256}, AppendTagged(nil, 1, data)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ data, want string }{
		{"not done\x00" + string(data), "not done: EV_IPL .linux"},
		{"registers\x00{\"sha256\":{}}", "registers"},
		{"not done\x00" + string(nested), "not done"},
		{"only text", "only text"},
		{"", ""},
	} {
		e := NewEvent(11, NoAction, []Hash{SHA256}, AppendTagged(nil, 0x6c656570, []byte(tt.data)))
		if got := e.Describe(); got != tt.want {
			t.Errorf("Describe(%.20q) = %q, want %q", tt.data, got, tt.want)
		}
	}
}
