// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"errors"
	"strings"
	"testing"
)

// TestGenerations: which ABI a program speaks is told by its own types; an
// unknown one is refused by name.
func TestGenerations(t *testing.T) {
	// clang keeps a type in BTF if a variable has it; locals do not count.
	const tail = `struct cmd_hdr h; ANCHOR int prog(u64 *args) { struct kexec_context *k = (void *)args[0]; char *p; CORE_READ(p, k, kernel); trace_printk((void *)&h, sizeof(h)); return force_string(); }`
	// Nothing mentions the types of the ABI.
	const silent = `#include "template.h"
ANCHOR int prog(u64 *args) { return force_string(); }`
	for _, c := range []struct {
		name, source string
		flags        []string
		pe           bool // in the .bpf section of an image
		want         Generation
		err          string
	}{
		{name: "v6", source: `#include "template.h"` + "\n" + tail, flags: []string{"-DV6"}, want: GenV6},
		{name: "v7", source: `#include "template.h"` + "\n" + tail, want: GenV7},
		{name: "later", source: `#include "template.h"` + "\n" + tail, flags: []string{"-DLATER"}, want: GenLater},
		{name: "header of 12", source: "#define cmd_hdr was_cmd_hdr\n#include \"template.h\"\n#undef cmd_hdr\nstruct cmd_hdr { u32 a, b, c; };\n" + tail, err: "cmd_hdr of 12 bytes"},
		{name: "unknown field", source: "#define kdump quantum\n#include \"template.h\"\n" + tail, err: "quantum"},
		{name: "mixed", source: "#define V6\n#define cmd_hdr was_cmd_hdr\n#include \"template.h\"\n#undef cmd_hdr\nstruct cmd_hdr { u16 a; u8 b, c; u32 d; u16 e; } __attribute__((packed));\n" + tail, err: "cmd_hdr of 10 bytes with a kexec_context of v6"},
		{name: "two headers", source: `#include "template.h"
int inner(void) { struct cmd_hdr { u32 a, b; }; static __attribute__((used)) volatile struct cmd_hdr other; return other.a; }
` + tail, err: "cmd_hdr of 8 and of 10 bytes"},
		{name: "two contexts", source: `#include "template.h"
struct kexec_context___later { bool quantum; } RELO;
struct kexec_context___later l;` + "\n" + tail, err: "kexec_context___later.quantum"},
		{name: "header alone", source: strings.ReplaceAll(silent, "ANCHOR", "struct cmd_hdr h; ANCHOR"), flags: []string{"-DV6"}, want: GenV6},
		{name: "types of other things", source: strings.ReplaceAll(silent, "ANCHOR", "struct task_struct { int kernel, pid; } init; struct kexec_context_of_another { int peel_abi, sig_mode; } other; ANCHOR"), want: GenV7},
		{name: "flavour of somebody else", source: strings.ReplaceAll(silent, "ANCHOR", "struct kexec_context___mine { int quantum; } mine; ANCHOR"), want: GenV7},
		{name: "silent, in a container", source: silent, want: GenV7},
		{name: "silent, in a PE section", source: silent, pe: true, want: GenV6},
		{name: "v7 in a PE section", source: `#include "template.h"` + "\n" + tail, pe: true, want: GenV7},
		{name: "v6 in a container", source: `#include "template.h"` + "\n" + tail, flags: []string{"-DV6"}, want: GenV6},
	} {
		from := carrierContainer
		if c.pe {
			from = carrierPE
		}
		o, err := open(compile(t, c.source, c.flags...), from)
		switch {
		case c.err != "":
			if !errors.Is(err, ErrGeneration) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %v naming %q", c.name, err, ErrGeneration, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case o.gen != c.want:
			t.Errorf("%s: generation %q, want %q", c.name, o.gen, c.want)
		}
	}
}
