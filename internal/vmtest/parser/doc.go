// SPDX-License-Identifier: Apache-2.0

// Package parser holds the tests that show the stock parsers to the verifier of a real kernel, in a virtual machine.
//
// In: the tool cache and the sources of parser/stock. Out: verdicts only; the package exports nothing.
package parser
