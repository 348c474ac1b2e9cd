// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

func program(t testing.TB, arch image.Arch, pkg, path string) []testkit.File {
	t.Helper()
	return vmkit.Program(t, arch, pkg, path)
}
