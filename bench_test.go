// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"context"
	"crypto/rand"
	"os"
	"testing"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/internal/testkit"
)

// BenchmarkVerifyDecompose reads, verifies and takes apart a UKI of about
// 100 MiB, as far as Prepare goes before the system call.
func BenchmarkVerifyDecompose(b *testing.B) {
	initrd := make([]byte, 88<<20)
	if _, err := rand.Read(initrd); err != nil {
		b.Fatal(err)
	}
	key := testkit.NewKey(b, "bench")
	path := testkit.UKI(b, testkit.UKIOptions{Initrd: initrd, Cmdline: line, Key: key})
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	v := trusting(key)
	b.SetBytes(info.Size())
	b.ReportAllocs()
	for b.Loop() {
		im, err := peel.Open(path, peel.Options{Verifier: v})
		if err != nil {
			b.Fatal(err)
		}
		d, err := im.Decompose(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		d.Close()
		im.Close()
	}
}
