// SPDX-License-Identifier: Apache-2.0

package peel

// LoadPlan is what both routes end in.
var LoadPlan = loadSegments
