// SPDX-License-Identifier: Apache-2.0

//go:build long

package measure

import (
	"testing"

	"github.com/peelboot/peel/image"
)

// TestPredictionARM64 is TestPrediction on arm64: QEMU's TPM of the virt board, which AAVMF finds and ACPI describes. Debian's
// kernel has its driver as a module, so that the log appears only when that is loaded.
func TestPredictionARM64(t *testing.T) {
	tt := boot{name: "257 secure", arch: image.ArchARM64, kernel: "6.12", stub: "trixie", secure: true, beside: true, pcrs: allPCRs()}
	tt.run(t)
}
