// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package run

import (
	"bytes"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// TestTry starts virtual machines with nothing but the segments of a plan in their memory, by the run route here, as the
// stub is code for this computer, and by the parse route for both architectures.
func TestTry(t *testing.T) {
	peel := testkit.BuildBinary(t, "./cmd/peel", runtime.GOARCH)
	for _, tt := range []struct {
		name   string
		arch   image.Arch
		series string // of a kernel by itself; "" is a UKI with the newest stub
		args   []string
	}{
		{"UKI", image.ArchX86_64, "", []string{"--via", "run"}},
		{"bzImage 6.12", image.ArchX86_64, "6.12", []string{"--via", "run"}},
		{"bzImage 6.1", image.ArchX86_64, "6.1", []string{"--via", "run"}},
		{"bzImage 5.10", image.ArchX86_64, "5.10", []string{"--via", "run"}},
		{"4 GiB and more", image.ArchX86_64, "6.12", []string{"--via", "run", "--memory", "5000"}},
		{"parsed UKI", image.ArchX86_64, "", []string{"--syscall", "segments"}},
		{"parsed arm64 Image", image.ArchARM64, "6.12", []string{"--syscall", "segments"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const line = "quiet panic=-1 no_timer_check peel.try=1"
			initrd := second(t, tt.arch, false)
			args := []string{"try", "", "--policy", "warn", "--qemu", vmkit.Config(t, tt.arch).QEMU, "--append", "peel.more",
				"--timeout", vmkit.Timeout.String(), "--expect", `"done":"second"`}
			if tt.series == "" {
				args[1] = testkit.UKI(t, testkit.UKIOptions{Stub: testkit.Stub(t, goArch(tt.arch), "forky"), Initrd: initrd, Cmdline: line})
			} else {
				args[1] = testkit.Kernel(t, goArch(tt.arch), tt.series)
				args = append(args, "--cmdline", line, "--initrd", file(t, "initrd", initrd))
			}
			release := vmkit.Alone(t)
			defer release()
			cmd := exec.Command(peel, append(args, tt.args...)...)
			var both bytes.Buffer
			cmd.Stdout, cmd.Stderr = &both, &both
			if err := cmd.Run(); err != nil {
				t.Fatalf("peel try: %v\n%s", err, both.String())
			}
			var b *guest.Boot
			for _, m := range guest.Parse(strings.ReplaceAll(both.String(), "\r", "")) {
				if m.Boot != nil {
					b = m.Boot
				}
			}
			if b == nil {
				t.Fatalf("no boot reported:\n%s", both.String())
			}
			if want := line + " peel.more console=tty"; !strings.HasPrefix(b.Cmdline, want) {
				t.Errorf("/proc/cmdline = %q, want %q at its start", b.Cmdline, want)
			}
			if most := uint64(1024 << 10); tt.name == "4 GiB and more" && b.MemTotalKB < 4<<20 || tt.name != "4 GiB and more" && (b.MemTotalKB > most || b.MemTotalKB < most*8/10) {
				t.Errorf("the kernel found %d kB of memory", b.MemTotalKB)
			}
		})
	}
}
