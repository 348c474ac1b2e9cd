// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"testing"

	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/internal/testkit"
)

// ukiOf returns what wraps a kernel into a UKI. It is made of sections by
// objcopy, because ukify takes only kernels that are PE files.
func ukiOf(arch string) func(*testing.T, []byte, []byte, string) ([]byte, bool) {
	return func(t *testing.T, kernel, initrd []byte, cmdline string) ([]byte, bool) {
		t.Helper()
		return testkit.ReadFile(t, testkit.UKI(t, testkit.UKIOptions{
			Arch: arch, Kernel: testkit.WriteFile(t, "linux", kernel), Initrd: initrd, Cmdline: cmdline, Objcopy: arch != "amd64",
		})), true
	}
}

// zbootOf wraps an arm64 Image as the kernel's build does: the PE file is one
// that it made, with another kernel.
func zbootOf(t *testing.T, kernel []byte) []byte {
	t.Helper()
	b := testkit.ReadFile(t, "../../../image/zboot/testdata/vmlinuz-arm64-6.12-gzip.efi")
	packed := testkit.Gzip(t, kernel)
	at := len(b)
	b = append(b, packed...)
	if err := zboot.SetPayload(b, uint32(at), uint32(len(packed))); err != nil {
		t.Fatal(err)
	}
	return b
}

// justZboot is zbootOf for a kernelCase.
func justZboot(t *testing.T, kernel, _ []byte, _ string) ([]byte, bool) {
	t.Helper()
	return zbootOf(t, kernel), false
}

// ukiOfZboot is a UKI whose kernel is a zboot image.
func ukiOfZboot(t *testing.T, kernel, initrd []byte, cmdline string) ([]byte, bool) {
	t.Helper()
	return ukiOf("arm64")(t, zbootOf(t, kernel), initrd, cmdline)
}
