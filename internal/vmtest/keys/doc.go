// SPDX-License-Identifier: Apache-2.0

// Package keys tests signing keys in hardware as a kernel drives it: its
// resource manager in front of a TPM.
package keys
