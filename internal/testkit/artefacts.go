// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/internal/testkit/artefact"
)

// remedy is the command that brings what a test misses.
const remedy = "run `go run ./internal/cmd/deps core` (or `core long` for the long tests) in the module's directory"

func cache(t testing.TB) *artefact.Cache {
	t.Helper()
	c, err := artefact.Open()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func have(t testing.TB, p string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatalf("%v; %s", err, remedy)
	}
	return p
}

// Tool returns the path of a tool, such as "sbsign", that runs from the tool cache. The test fails when it is missing.
func Tool(t testing.TB, name string) string {
	t.Helper()
	p, err := cache(t).Tool(name)
	return have(t, p, err)
}

// Run runs a tool of the cache in dir and returns its standard output; anything but success fails the test.
func Run(t testing.TB, dir, tool string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(Tool(t, tool), args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", tool, strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// Kernel returns the path of a Debian kernel: arch in Debian's spelling (amd64, arm64, riscv64, loong64), series "6.12",
// "6.1", "5.10" (long), "new" (Debian testing); "6.12-unsigned" for amd64 without its signature.
func Kernel(t testing.TB, arch, series string) string {
	t.Helper()
	return KernelImage(t, arch, series).Path
}

// KernelImage is Kernel with the release, the modules and the configuration.
func KernelImage(t testing.TB, arch, series string) artefact.KernelImage {
	t.Helper()
	k, err := cache(t).Kernel(arch, series)
	have(t, k.Path, err)
	return k
}

// Module returns the uncompressed bytes of a kernel module, such as "efivarfs".
func Module(t testing.TB, k artefact.KernelImage, name string) []byte {
	t.Helper()
	p, err := k.Module(name)
	have(t, p, err)
	if strings.HasSuffix(p, ".xz") {
		return Run(t, "", "xz", "-dc", p)
	}
	return ReadFile(t, p)
}

// Stub returns the path of systemd's stub: arch in Debian's spelling, suite bookworm (252), trixie (257) or forky.
func Stub(t testing.TB, arch, suite string) string {
	t.Helper()
	p, err := cache(t).Stub(arch, suite)
	return have(t, p, err)
}

// AddonStub returns the path of systemd's addon stub; suite trixie or forky.
func AddonStub(t testing.TB, arch, suite string) string {
	t.Helper()
	p, err := cache(t).AddonStub(arch, suite)
	return have(t, p, err)
}

// SystemdBoot returns the path of systemd-boot.
func SystemdBoot(t testing.TB, arch, suite string) string {
	t.Helper()
	p, err := cache(t).SystemdBoot(arch, suite)
	return have(t, p, err)
}

// Shim returns the path of shimx64.efi with Microsoft's two signatures.
func Shim(t testing.TB) string {
	t.Helper()
	p, err := cache(t).Shim()
	return have(t, p, err)
}

// UnsignedShim returns the path of shimx64.efi, mmx64.efi or fbx64.efi without a signature.
func UnsignedShim(t testing.TB, name string) string {
	t.Helper()
	p, err := cache(t).UnsignedShim(name)
	return have(t, p, err)
}

// DebianCA returns the path of Debian's Secure Boot CA certificate (DER).
func DebianCA(t testing.TB) string {
	t.Helper()
	p, err := cache(t).DebianCA()
	return have(t, p, err)
}

// Firmware returns UEFI firmware; see artefact.Cache.Firmware.
func Firmware(t testing.TB, arch string, secureBoot bool) artefact.Firmware {
	t.Helper()
	f, err := cache(t).Firmware(arch, secureBoot)
	have(t, f.Code, err)
	return f
}

// OVMF returns x86-64 UEFI firmware.
func OVMF(t testing.TB, secureBoot bool) artefact.Firmware {
	t.Helper()
	return Firmware(t, "amd64", secureBoot)
}

// SoftHSM returns the path of SoftHSM's PKCS #11 module: a token in software, for the tools softhsm2-util and pkcs11-tool.
func SoftHSM(t testing.TB) string {
	t.Helper()
	p, err := cache(t).SoftHSM()
	return have(t, p, err)
}

// ReadFile returns the contents of a file or fails the test.
func ReadFile(t testing.TB, p string) []byte {
	t.Helper()
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// WriteFile writes a file into a temporary directory of the test and returns its path.
func WriteFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// TinyKernel returns the arm64 kernel that the tool cache compiles (set long); see artefact.TinyKernel.
func TinyKernel(t testing.TB) artefact.TinyKernel {
	t.Helper()
	k, err := cache(t).TinyKernel()
	have(t, k.Image, err)
	return k
}

// Stubble returns the paths of Ubuntu's stub, its .sbat and its directory of hardware ids.
func Stubble(t testing.TB) (stub, sbat, hwids string) {
	t.Helper()
	stub, sbat, hwids, err := cache(t).Stubble()
	have(t, stub, err)
	return stub, sbat, hwids
}
