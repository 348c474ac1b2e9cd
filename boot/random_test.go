// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/peelboot/peel/image"
)

// randomHost gives a host another memory map: up to eight ranges, some above
// 4 GiB, some above the first window of arm64, with odd ends.
func randomHost(rnd *rand.Rand, h *Host) {
	h.Usable = nil
	for range 1 + rnd.IntN(8) {
		start := rnd.Uint64N(3*gib) + []uint64{0, 4 * gib, 40 * gib}[rnd.IntN(3)]
		h.Usable = append(h.Usable, Range{start, start + rnd.Uint64N(gib)})
	}
	h.PageSize = []uint64{0, 4 * kib, 16 * kib, 64 * kib}[rnd.IntN(4)]
}

// On any memory map there is a valid plan or a reason, and what the protocols
// say about places relative to each other holds.
func TestBuildOnRandomMaps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	initrd := make([]byte, mib)
	x86, arm64, riscv64 := modern().bytes(), arm64Image()[:64], riscv64Image()[:64]
	tree := virt(t).FDT
	made := map[image.Arch]int{}
	for range 6000 {
		h, kernel := uefi(), x86
		switch rnd.IntN(3) {
		case 1:
			h, kernel = &Host{Arch: image.ArchARM64, FDT: tree}, arm64
		case 2:
			h, kernel = &Host{Arch: image.ArchRISCV64, FDT: tree}, riscv64
		}
		randomHost(rnd, h)
		pl := payload(kernel, "quiet")
		for range rnd.IntN(20) {
			pl.Initrds = append(pl.Initrds, image.Part{Data: initrd[:rnd.IntN(len(initrd))]})
		}
		p, err := Build(pl, h, Options{Rand: seeds{}})
		if err != nil {
			if !errors.Is(err, ErrNoRoom) && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrHost) {
				t.Fatalf("Build on %v = %v", h.Usable, err)
			}
			continue
		}
		made[h.Arch]++
		if err := p.Validate(h); err != nil {
			t.Fatalf("Validate of what Build made = %v", err)
		}
		k := p.Segment("kernel").Range()
		if k.Start%(2*mib) != 0 {
			t.Fatalf("kernel at %#x", k.Start)
		}
		if r := p.HandOver.Initrd; r != nil {
			if k.Overlaps(*r) {
				t.Fatalf("initrd %v lies over the kernel %v", *r, k)
			}
			if base := k.Start &^ (gib - 1); h.Arch == image.ArchARM64 && (r.Start < base || r.End > base+32*gib) {
				t.Fatalf("initrd %v is not in the window of the kernel %v", *r, k)
			}
			if h.Arch == image.ArchRISCV64 && r.Start/(2*mib) <= (k.End-1)/(2*mib) {
				t.Fatalf("initrd %v shares 2 MiB with the kernel %v", *r, k)
			}
		}
	}
	for _, a := range []image.Arch{image.ArchX86_64, image.ArchARM64, image.ArchRISCV64} {
		if made[a] < 500 {
			t.Errorf("%d plans for %s, want at least 500 of some 2000 maps", made[a], a)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	kernel, initrd := modern().bytes(), make([]byte, 500*mib)
	h := uefi()
	h.Usable = append(h.Usable, Range{8 * gib, 16 * gib})
	b.SetBytes(int64(len(initrd)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(payload(kernel, "quiet", initrd), h, Options{Rand: seeds{}}); err != nil {
			b.Fatal(err)
		}
	}
}
