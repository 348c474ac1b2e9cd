// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/internal/testkit"
)

// try gives a device tree to the machine when the operator names one, not
// when the image brings that of some board.
func TestTryDeviceTree(t *testing.T) {
	tree := fdt.New()
	tree.Root.SetText("model", "a board")
	b, err := tree.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	dtb := testkit.WriteFile(t, "board.dtb", b)
	// Stands for QEMU, says what it was given and ends.
	qemu := filepath.Join(t.TempDir(), "qemu")
	const script = "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" != -dtb ] || { echo tree; cat \"$2\"; }; shift; done\necho end\n"
	if err := os.WriteFile(qemu, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	uki := testkit.UKI(t, testkit.UKIOptions{Initrd: []byte("initrd"), Cmdline: "quiet", Extra: []string{"--devicetree=" + dtb}})
	args := []string{"try", uki, "--policy", "warn", "--qemu", qemu, "--timeout", "1m", "--expect"}
	call(t, append(args, "tree(?s).*a board")...).want(t, "an image with a device tree", exitFailed, "device tree is left out")
	call(t, append(args, "tree(?s).*a board", "--dtb", dtb)...).want(t, "a device tree given", exitDone)
}
