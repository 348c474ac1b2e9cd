// SPDX-License-Identifier: Apache-2.0

//go:build long

package trust_test

// tamperStep visits every value.
func tamperStep(int) int { return 1 }

// tamperAll tells that every value is tried.
const tamperAll = true
