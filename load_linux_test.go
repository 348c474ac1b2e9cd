// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine/machinetest"
	"github.com/peelboot/peel/trust"
)

// A kernel from before Linux 3.17 does not tell how much memory it needs:
// both system calls refuse it, and peel says why before them.
func TestImageWithoutSize(t *testing.T) {
	b := make([]byte, 8192)
	binary.LittleEndian.PutUint32(b, 0x14000400) // b . + 0x1000
	copy(b[0x38:], "ARM\x64")
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	v.Policy.SetMode(trust.Warn, "test")
	im, err := peel.Open(testkit.WriteFile(t, "Image", b), peel.Options{Verifier: v})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	k, err := im.Prepare(context.Background(), peel.Additions{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	m := machinetest.Machine(t, "arm64-dtb")
	for _, route := range []kexec.Route{kexec.RouteAuto, kexec.RouteFile, kexec.RouteSegments} {
		if _, err := k.Choose(m, peel.LoadOptions{Route: route}); !errors.Is(err, boot.ErrKernel) || !strings.Contains(err.Error(), "image_size is 0") {
			t.Errorf("Choose(%s) = %v, want %v that says why", route, err, boot.ErrKernel)
		}
	}
	if _, err := k.Plan(m, boot.Options{}); !errors.Is(err, boot.ErrKernel) {
		t.Errorf("Plan() = %v, want %v", err, boot.ErrKernel)
	}
}
