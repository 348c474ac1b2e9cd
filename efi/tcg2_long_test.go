// SPDX-License-Identifier: Apache-2.0

//go:build long && linux && amd64

package efi_test

import "testing"

// Linux 5.10 measures nothing itself.
func TestMeasuredOldKernel(t *testing.T) { measuredKernel(t, "5.10") }
