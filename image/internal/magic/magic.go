// SPDX-License-Identifier: Apache-2.0

// Package magic tells compression methods apart by the first bytes.
//
// In: the start of a stream. Out: the method's name. It must never
// decompress; package inflate does.
package magic

import "bytes"

// Method returns the name of the compression method whose stream begins with
// b: gzip, bzip2, lzma, xz, lzo, lz4 or zstd; "" if it is none of them.
// Source: the table in lib/decompress.c of Linux, with the longer magic
// numbers of the formats themselves where they have one.
func Method(b []byte) string {
	for _, m := range [...]struct{ magic, name string }{
		{"\x1f\x8b\x08", "gzip"},
		{"\x1f\x9e\x08", "gzip"},
		{"BZh", "bzip2"},
		{"\x5d\x00\x00", "lzma"},
		{"\xfd7zXZ\x00", "xz"},
		{"\x89LZO\x00\r\n\x1a\n", "lzo"},
		{"\x02\x21\x4c\x18", "lz4"}, // legacy frame
		{"\x04\x22\x4d\x18", "lz4"},
		{"\x28\xb5\x2f\xfd", "zstd"},
	} {
		if bytes.HasPrefix(b, []byte(m.magic)) {
			return m.name
		}
	}
	return ""
}
