// SPDX-License-Identifier: Apache-2.0

package magic

import "testing"

func TestMethod(t *testing.T) {
	for _, c := range []struct{ head, want string }{
		{"", ""},
		{"\x1f", ""},
		{"MZ\x00\x00zimg", ""},
		{"07070100000000", ""},
		{"\x1f\x8b\x08\x00", "gzip"},
		{"\x1f\x9e\x08\x00", ""}, // in the kernel's table, refused by its decoder
		{"\x1f\x9d\x90\x00", ""}, // compress
		{"BZh91AY", "bzip2"},
		{"\x5d\x00\x00\x80\x00", "lzma"},
		{"\xfd7zXZ\x00\x00\x01", "xz"},
		{"\x89LZO\x00\x0d\x0a\x1a\x0a", "lzo"},
		{"\x02\x21\x4c\x18", "lz4"},
		{"\x04\x22\x4d\x18", "lz4"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"\x50\x2a\x4d\x18\x00\x00\x00\x00\x04\x22\x4d\x18", ""}, // the rest is too short to tell
		{"\x50\x2a\x4d\x18\x00\x00\x00\x00\x04\x22\x4d\x18\x00\x00\x00\x00", "lz4"},
		{"\x50\x2a\x4d\x18\x00\x00\x00\x00\x1f\x8b\x08\x00\x00\x00\x00\x00", ""},
		{"\x50\x2a\x4d\x18\xff\x00\x00\x00", "zstd"},
	} {
		if got := Method([]byte(c.head)); got != c.want {
			t.Errorf("Method(%q) = %q, want %q", c.head, got, c.want)
		}
	}
}
