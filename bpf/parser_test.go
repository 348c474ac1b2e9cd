// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParserBothForms(t *testing.T) {
	object := compile(t, "parser")
	forms := map[Format][]byte{FormatELF: object, FormatSkeleton: skeleton(t, object)}
	payload := []byte("the kernel inside")
	image := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	image = append(append(image, payload...), "something behind"...)
	for form, b := range forms {
		t.Run(string(form), func(t *testing.T) {
			h := newV7Host()
			o, err := OpenObject(b, &h.Host)
			if err != nil {
				t.Fatal(err)
			}
			if o.Format != form || o.License != "GPL" || len(o.Programs) != 1 {
				t.Fatalf("OpenObject() = %s, license %q, %d programs", o.Format, o.License, len(o.Programs))
			}
			p := o.Programs[0]
			if p.Name != "parse_test" || p.Type != ProgTypeTracing || p.AttachType != AttachTraceFentry ||
				p.Flags != FlagSleepable || p.AttachTo != "kexec_image_parser_anchor" {
				t.Errorf("program = %q type %d attach %d flags %#x to %q", p.Name, p.Type, p.AttachType, p.Flags, p.AttachTo)
			}
			var names []string
			for _, k := range p.Kfuncs {
				names = append(names, k.Name)
			}
			slices.Sort(names)
			if d := cmp.Diff([]string{"bpf_buffer_parser", "bpf_get_parser_context", "bpf_put_parser_context"}, names); d != "" {
				t.Errorf("kfuncs (-want +got):\n%s", d)
			}
			if y := o.BTF.Find(KindStruct, "cmd_hdr"); y == nil || y.Size != 10 {
				t.Errorf("cmd_hdr = %+v, want 10 bytes", y)
			}
			var maps []string
			for _, m := range o.Maps {
				maps = append(maps, m.Name[strings.LastIndex(m.Name, ".r")+1:])
			}
			if len(o.Maps) != 8 {
				t.Errorf("%d maps: %q, want 8", len(o.Maps), maps)
			}
			m, err := o.Link(&h.Host, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Run(context.Background(), "parse_test", h.enter(t, m, image)); err != nil {
				t.Fatal(err)
			}
			want := []string{"get 42", "command 3/1 of 27 bytes", "command 1/0 of 10 bytes", "put"}
			if d := cmp.Diff(want, h.log); d != "" {
				t.Errorf("log (-want +got):\n%s", d)
			}
			if got := string(h.sent[0][10:]); got != string(payload) {
				t.Errorf("payload = %q, want %q", got, payload)
			}
			if h.held != 0 || m.Held() != 0 {
				t.Errorf("%d contexts held", h.held)
			}
			for _, s := range o.Maps {
				if strings.HasSuffix(s.Name, "bss") {
					b, err := m.Value(s.Name)
					if err != nil || !slices.Contains(b, 18) {
						t.Errorf("Value(%s) = %v, %v, want a byte of 7+11", s.Name, b, err)
					}
				}
			}
		})
	}
}
