// SPDX-License-Identifier: Apache-2.0

package keyring

import "github.com/peelboot/peel/internal/unix"

// LiveMembers asks the running kernel.
func LiveMembers(serial int32) ([]int32, error) { return unix.KeyringMembers(serial) }
