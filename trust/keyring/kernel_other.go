// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package keyring

import "errors"

// LiveMembers fails: only Linux has keyrings.
func LiveMembers(int32) ([]int32, error) { return nil, errors.ErrUnsupported }
