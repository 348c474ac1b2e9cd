// SPDX-License-Identifier: Apache-2.0

package efi_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/parser"
)

// TestRoutesAgree: the parse route and the run route give the next kernel the
// same command line and the same initrd. What the stub puts behind it is an
// archive of its own, with what the image says of itself below /.extra.
func TestRoutesAgree(t *testing.T) {
	initrd := testkit.Initramfs(t, testkit.Plain("init", bytes.Repeat([]byte("x"), 5001)))
	ucode := testkit.Initramfs(t, testkit.Plain("kernel/x86/microcode/GenuineIntel.bin", []byte("microcode")))
	tests := []struct {
		name string
		o    testkit.UKIOptions
	}{
		{"initrd", testkit.UKIOptions{Initrd: initrd, Cmdline: "a b  c"}},
		{"microcode", testkit.UKIOptions{Initrd: initrd, Cmdline: "x", Extra: []string{"--microcode=" + testkit.WriteFile(t, "ucode", ucode)}}},
		{"no initrd", testkit.UKIOptions{Cmdline: "quiet \u00e4"}},
	}
	for _, suite := range []string{"trixie", "forky"} {
		for _, tt := range tests {
			t.Run(suite+" "+tt.name, func(t *testing.T) {
				img := uki(t, suite, tt.o)
				line, got, _ := handedOver(t, img, options(t, "x86-bios"))
				p, err := parser.Decompose(context.Background(), img, parser.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if line != p.Cmdline {
					t.Errorf("command line by the stub = %q, by the parser = %q", line, p.Cmdline)
				}
				var want []byte
				for _, part := range p.RAMDisk() {
					want = append(want, make([]byte, -len(want)&3)...)
					want = append(want, part.Data...)
				}
				if !bytes.HasPrefix(got, want) {
					t.Errorf("initrd by the stub, %d bytes, does not begin with the %d bytes by the parser", len(got), len(want))
				}
				if rest := bytes.TrimLeft(got[min(len(want), len(got)):], "\x00"); len(rest) > 0 && !(bytes.HasPrefix(rest, []byte("070701")) && bytes.Contains(rest, []byte(".extra"))) {
					t.Errorf("the stub adds %d bytes: %.200q", len(rest), rest)
				}
			})
		}
	}
}
