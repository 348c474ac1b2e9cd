// SPDX-License-Identifier: Apache-2.0

// Package given is what the command survey tells of a kernel's start.
//
// In: nothing; the command fills the value. Out: JSON for the test that compares two of them. It must never hold more than
// plain data.
package given

// Given is what a kernel was given.
type Given struct {
	Cmdline string `json:"cmdline"`
	// Files are the regular files of the initial RAM disk: path, and size and SHA-256 digest as text.
	Files map[string]string `json:"files"`
	// DeviceTree is the flattened tree, compressed with gzip; absent where there is none.
	DeviceTree []byte `json:"device_tree,omitempty"`
}
