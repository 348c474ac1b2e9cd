// SPDX-License-Identifier: Apache-2.0

package unix

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxKeyring bounds the payload of a keyring that KeyringMembers reads, in
// bytes: four for each key.
const maxKeyring = 1 << 20

// KeyringMembers returns the serial numbers of the keys linked to a keyring
// (keyctl(2), KEYCTL_READ). EACCES means that the caller may not read it.
func KeyringMembers(serial int32) ([]int32, error) {
	buf := make([]byte, 4096)
	for {
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, int(serial), buf, len(buf))
		if err != nil {
			return nil, os.NewSyscallError("keyctl", err)
		}
		if n <= len(buf) {
			buf = buf[:n]
			break
		}
		if n > maxKeyring {
			return nil, fmt.Errorf("keyring 0x%08x of %d bytes: %w", serial, n, unix.E2BIG)
		}
		buf = make([]byte, n)
	}
	out := make([]int32, 0, len(buf)/4)
	for ; len(buf) >= 4; buf = buf[4:] {
		out = append(out, int32(binary.NativeEndian.Uint32(buf)))
	}
	return out, nil
}
