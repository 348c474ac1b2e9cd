// SPDX-License-Identifier: Apache-2.0

// Package magic tells compression formats apart by their first bytes.
//
// In: the start of a stream. Out: the format's name. It must never
// decompress; package inflate does, and lends its own Detect to this.
package magic

import (
	"encoding/binary"
	"strings"
)

// Leading bytes of each format. Those of LZMA are not a magic number: a
// properties byte and the low bytes of the dictionary size, as every lzma tool
// writes them by default. Source: the formats' specifications, and the table in
// lib/decompress.c of Linux for what kernels are packed with; its 1f 9e, which
// it calls gzip, is left out, because its own decoder refuses that.
const (
	Gzip      = "\x1f\x8b"
	Bzip2     = "BZh"
	LZMA      = "\x5d\x00\x00"
	XZ        = "\xfd7zXZ\x00"
	LZO       = "\x89LZO\x00\x0d\x0a\x1a\x0a"
	LZ4       = "\x04\x22\x4d\x18"
	LZ4Legacy = "\x02\x21\x4c\x18"
	Zstd      = "\x28\xb5\x2f\xfd"
)

// Method returns the name of the compression method whose stream begins with
// head: gzip, bzip2, lzma, xz, lzo, lz4 or zstd; "" if it is none of them. 16
// bytes are enough, unless the stream begins with a skippable frame: zstd and
// LZ4 share their number, so Method looks at what follows and takes zstd if it
// cannot see that far.
func Method(head []byte) string {
	if m := plain(head); m != "" {
		return m
	}
	for skipped := false; len(head) >= 8; skipped = true {
		if n, ok := Skippable(head); ok {
			if n > uint64(len(head)) {
				return "zstd"
			}
			head = head[n:]
			continue
		}
		if m := plain(head); skipped && (m == "lz4" || m == "zstd") {
			return m
		}
		break
	}
	return ""
}

// plain looks at the first bytes only.
func plain(head []byte) string {
	start := string(head[:min(len(head), len(LZO))])
	for _, m := range [...]struct{ magic, name string }{
		{Gzip, "gzip"},
		{Bzip2, "bzip2"},
		{XZ, "xz"},
		{LZO, "lzo"},
		{LZ4, "lz4"},
		{LZ4Legacy, "lz4"},
		{Zstd, "zstd"},
		{LZMA, "lzma"},
	} {
		if strings.HasPrefix(start, m.magic) {
			return m.name
		}
	}
	return ""
}

// Skippable returns the whole size in bytes of the skippable frame that b
// begins with (RFC 8878, 3.1.2; the LZ4 frame format has the same). It may
// exceed len(b).
func Skippable(b []byte) (uint64, bool) {
	if len(b) < 8 || binary.LittleEndian.Uint32(b)&^0xF != 0x184D2A50 {
		return 0, false
	}
	return 8 + uint64(binary.LittleEndian.Uint32(b[4:])), true
}
