// SPDX-License-Identifier: Apache-2.0

package image

import "github.com/peelboot/peel/image/linux"

// Release returns the release (uname -r) of the kernel b, or "" when b is no
// kernel or does not tell. An uncompressed kernel is searched for its banner.
func Release(b []byte) string {
	switch {
	case linux.IsBzImage(b):
		k, err := linux.ParseBzImage(b)
		if err != nil {
			return ""
		}
		return linux.Release(k.Version)
	case linux.IsImage(b), linux.IsELF(b):
		return linux.Release(linux.Banner(b))
	}
	return ""
}
