// SPDX-License-Identifier: Apache-2.0

//go:build long

package run

import (
	"testing"

	"github.com/peelboot/peel/image"
)

func TestCrashMore(t *testing.T) {
	t.Run("bzImage", func(t *testing.T) { crash(t, image.ArchX86_64, false) })
	t.Run("arm64 Image", func(t *testing.T) { crash(t, image.ArchARM64, false) })
	t.Run("arm64 UKI", func(t *testing.T) { crash(t, image.ArchARM64, true) })
}
