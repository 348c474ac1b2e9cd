// SPDX-License-Identifier: Apache-2.0

package inflate

import "testing"

// BenchmarkDecompress decodes a small arm64 kernel of 4.6 MiB. internal/cmd/benchcodecs
// sets the decoders against the C tools.
func BenchmarkDecompress(b *testing.B) {
	payload, _ := zbootPayload(b, zbootImage(b, "vmlinuz-arm64-6.12-gzip.efi"))
	kernel := pack(b, "gzip -dc", payload)
	for _, c := range []struct {
		name    string
		method  Method
		command string
	}{
		{"gzip", Gzip, "gzip -9"},
		{"bzip2", Bzip2, "bzip2 -9"},
		{"lzma", LZMA, "lzma -9"},
		{"xz", XZ, "xz --check=crc32 --arm64 --lzma2=preset=6"},
		{"lzo", LZO, "lzop -9"},
		{"lz4", LZ4, "lz4 -l -9"},
		{"zstd", Zstd, "zstd -19"},
	} {
		b.Run(c.name, func(b *testing.B) {
			src := pack(b, c.command, kernel)
			dst := make([]byte, 512<<20)
			b.SetBytes(int64(len(kernel)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decompress(c.method, dst, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
