// SPDX-License-Identifier: Apache-2.0

//go:build !long

package trust_test

// tamperStep visits the masks 1, 2, 4 … 128 and 255: each bit, and all of
// them. The long tests try every value.
func tamperStep(x int) int {
	if x == 128 {
		return 127
	}
	return x
}

// tamperAll tells that not every value is tried.
const tamperAll = false
