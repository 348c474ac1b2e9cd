// SPDX-License-Identifier: Apache-2.0

// Package fdt reads, edits and writes flattened device trees, version 17
// (Devicetree Specification, chapter 5), and applies overlays to them.
//
// In: the bytes of a .dtb or .dtbo, of any origin. Out: a Tree, an ordinary
// value that can be edited, and from it the bytes of a .dtb again. What Write
// makes of a tree that Parse read is byte for byte what dtc makes of it.
//
// It must never follow an offset or a length of its input that it has not
// checked, recurse deeper than MaxDepth, keep more memory than a small
// multiple of its input, or touch the input: values are views until an edit
// replaces them.
package fdt
