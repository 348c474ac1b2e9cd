// SPDX-License-Identifier: Apache-2.0

// Package inflate undoes the compressions that boot images use: gzip, zstd,
// xz, lzma, lzo, lz4 and bzip2.
//
// In: a compressed stream held whole in memory, and a slice for the output
// whose length is the limit. Out: how many bytes of each were used, or an
// error saying what is wrong and at which offset of the input.
//
// The package never allocates output and never writes past the slice it was
// given; where a format needs a window, the output written so far is the
// window. The slice may thus be a huge sparse mapping: only the part that is
// written gets touched. Beside the output a decoder holds at most a few MiB,
// with one exception: a zstd stream whose blocks could outgrow the slice is
// decoded through a window of its own, which [Options.MaxDictionary] bounds.
//
// It must never trust a size that a stream declares, and never read a file,
// know a boot image format or keep state between calls.
package inflate
