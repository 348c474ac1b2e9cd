// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
)

// treePlan is a plan of a kernel and a device tree with nodes of these compatible strings, on a machine with 64 MiB.
func treePlan(t *testing.T, compatible ...string) (*boot.Plan, *boot.Host) {
	t.Helper()
	const base = 0x40000000
	tree := fdt.New()
	tree.Root.SetU32("#address-cells", 2)
	tree.Root.SetU32("#size-cells", 2)
	tree.Reserve = []fdt.Reservation{{Address: base, Size: 0x1000}}
	for i, c := range compatible {
		tree.Ensure("/bus/tpm@"+string(rune('0'+i))).SetText("compatible", c)
	}
	dtb, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p := &boot.Plan{Arch: image.ArchARM64, Entry: base + 0x200000, Segments: []boot.Segment{
		{Name: "kernel", Phys: base + 0x200000, MemSize: 0x100000, Data: make([]byte, 0x100000)},
		// No room for more than it has.
		{Name: "dtb", Phys: base + 0x3ff0000, MemSize: 0x1000, Data: dtb},
	}}
	h := &boot.Host{Arch: image.ArchARM64, Usable: []boot.Range{{Start: base, End: base + 0x4000000}}}
	if err := p.Validate(h); err != nil {
		t.Fatal(err)
	}
	return p, h
}

// logPayload is a payload with an event log behind its RAM disk.
func logPayload(t *testing.T) (*image.Payload, []byte) {
	t.Helper()
	k, err := measure.PlanKexec("x", []byte("no image of UEFI"), 0, &image.Payload{}, measure.KexecOptions{Mode: measure.ModeExtend,
		Banks: []eventlog.Hash{eventlog.SHA256}})
	if err != nil {
		t.Fatal(err)
	}
	archive, err := k.Handover()
	if err != nil {
		t.Fatal(err)
	}
	log, err := k.Log.WriteTCG()
	if err != nil {
		t.Fatal(err)
	}
	b := &Boot{Decomposition: &Decomposition{Payload: &image.Payload{Initrds: []image.Part{{Name: "initrd", Data: []byte("rd")}}}}}
	if err := b.AppendRAMDisk(image.Part{Name: ".extra/peel", Data: archive}); err != nil {
		t.Fatal(err)
	}
	return b.Payload, log
}

func TestHandOverLog(t *testing.T) {
	payload, log := logPayload(t)
	p, h := treePlan(t, "vendor,other", "tcg,tpm-tis-mmio")
	var last uint64
	for round := range 2 {
		handOverLog(p, payload, h, boot.Options{Max: 0x43000000})
		at := slices.IndexFunc(p.Segments, func(s boot.Segment) bool { return s.Name == "tpm-event-log" && s.Phys != last })
		if at < 0 || !bytes.Equal(p.Segments[at].Data, log) {
			t.Fatalf("round %d: no segment with the log in %v; notes %q", round, p.Segments, p.Notes)
		}
		s := p.Segments[at]
		if s.Phys+s.MemSize > 0x43000000 {
			t.Errorf("the log is at %#x, want it below 0x43000000", s.Phys)
		}
		if err := p.Validate(h); err != nil {
			t.Error(err)
		}
		tree, err := fdt.Parse(p.Segment("dtb").Data)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := tree.Lookup("/bus/tpm@1")
		base, _ := n.Get("linux,sml-base")
		size, _ := n.Get("linux,sml-size")
		if len(base) != 8 || binary.BigEndian.Uint64(base) != s.Phys || len(size) != 4 || binary.BigEndian.Uint32(size) != uint32(len(log)) {
			t.Errorf("the node says %x %x, want %#x %#x", base, size, s.Phys, len(log))
		}
		// The first entry is the machine's own; that of an earlier log is gone.
		if want := []fdt.Reservation{{Address: 0x40000000, Size: 0x1000}, {Address: s.Phys, Size: s.MemSize}}; !slices.Equal(tree.Reserve, want) {
			t.Errorf("reserved is %x, want %x", tree.Reserve, want)
		}
		if o, _ := tree.Lookup("/bus/tpm@0"); len(o.Props) != 1 {
			t.Errorf("what is no TPM has %v", o.Props)
		}
		if p.HandOver.DeviceTree == nil || len(p.HandOver.DeviceTree.Reserve) != 2 {
			t.Errorf("HandOver tells %v", p.HandOver.DeviceTree)
		}
		last = s.Phys
	}
}

// TestHandOverLogNowhere: the plan is left alone where the log has no place in it.
func TestHandOverLogNowhere(t *testing.T) {
	payload, _ := logPayload(t)
	outside := &image.Payload{Initrds: slices.Clone(payload.Initrds)}
	outside.Initrds[len(outside.Initrds)-1].Outside = true
	own := &image.Payload{Initrds: slices.Clone(payload.Initrds)}
	own.Initrds[len(own.Initrds)-1].Name = ".initrd"
	for _, tt := range []struct {
		name    string
		payload *image.Payload
		change  func(p *boot.Plan, h *boot.Host)
		o       boot.Options
		note    string
		tpms    []string
	}{
		{name: "no TPM", payload: payload, tpms: []string{"vendor,other"}},
		{name: "two TPMs", payload: payload, tpms: []string{"google,cr50", "tcg,tpm-tis-mmio"}, note: "2 TPMs"},
		{name: "no log", payload: &image.Payload{Initrds: payload.Initrds[:1]}, tpms: []string{"google,cr50"}},
		{name: "no RAM disk", payload: &image.Payload{}, tpms: []string{"google,cr50"}},
		{name: "log of somebody else", payload: outside, tpms: []string{"google,cr50"}},
		{name: "log of the image", payload: own, tpms: []string{"google,cr50"}},
		{name: "crash", payload: payload, tpms: []string{"google,cr50"}, change: func(p *boot.Plan, _ *boot.Host) { p.Crash = true }},
		{name: "no device tree", payload: payload, change: func(p *boot.Plan, _ *boot.Host) { p.Segments = p.Segments[:1] }},
		{name: "no room", payload: payload, tpms: []string{"google,cr50"}, o: boot.Options{Max: 0x1000}, note: "RAM disk only"},
		{name: "broken tree", payload: payload, change: func(p *boot.Plan, _ *boot.Host) { p.Segments[1].Data = []byte("no tree") }, note: "RAM disk only"},
		{name: "too many segments", payload: payload, tpms: []string{"google,cr50"}, note: "RAM disk only", change: func(p *boot.Plan, h *boot.Host) {
			for i := range uint64(boot.MaxSegments - 2) {
				p.Segments = append(p.Segments, boot.Segment{Name: "x", Phys: 0x41000000 + i<<12, MemSize: 0x1000})
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, h := treePlan(t, tt.tpms...)
			if tt.change != nil {
				tt.change(p, h)
			}
			before := *p
			handOverLog(p, tt.payload, h, tt.o)
			if len(p.Segments) != len(before.Segments) || len(p.Segments) > 1 && !bytes.Equal(p.Segments[1].Data, before.Segments[1].Data) {
				t.Errorf("the plan was changed: %v", p.Segments)
			}
			if notes := strings.Join(p.Notes, "; "); !strings.Contains(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, tt.note)
			}
		})
	}
}

// The log took the very page into which it made the tree grow, and was then
// given up.
func TestHandOverLogBehindFullTree(t *testing.T) {
	payload, _ := logPayload(t)
	p, h := treePlan(t, "tcg,tpm-tis-mmio")
	s := p.Segment("dtb")
	tree, err := fdt.Parse(s.Data)
	if err != nil {
		t.Fatal(err)
	}
	tree.Root.Set("pad", make([]byte, 0x1000-len(s.Data)-0x20))
	if s.Data, err = tree.Marshal(); err != nil || len(s.Data) > 0x1000 {
		t.Fatalf("tree of 0x%x bytes, %v, want one that fills a page", len(s.Data), err)
	}
	s.Phys = h.Usable[0].End - 0x2000
	handOverLog(p, payload, h, boot.Options{})
	if p.Segment("tpm-event-log") == nil || p.Segment("dtb").MemSize != 0x2000 {
		t.Errorf("no segment with the log behind a tree that fills a page; notes %q", p.Notes)
	}
}
