// SPDX-License-Identifier: Apache-2.0

// Command benchbpf sets the BPF machine against the interpreter of DPDK's
// librte_bpf on the same instruction bytes, and times the parse of a whole UKI.
//
// In: the tool cache, and DPDK from the package archive of this machine. Out:
// instructions per second of both and the ratio. Both run each program in one
// process, over and over; the fastest run counts. DPDK proves its programs safe
// when it loads them and then checks nothing; the BPF machine checks each
// access. DPDK refuses loops, so the programs are long instead.
// It must never decide that a result is good: people do.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/peelboot/peel/bpf"
	"github.com/peelboot/peel/internal/testkit/artefact"
)

func main() {
	seconds := flag.Int("seconds", 2, "`seconds` for each program in each interpreter")
	flag.Parse()
	if err := run(context.Background(), *seconds); err != nil {
		fmt.Fprintln(os.Stderr, "benchbpf:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, seconds int) error {
	cache, err := artefact.Open()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "peel-benchbpf")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peer, err := newDPDK(ctx, cache, dir)
	if err != nil {
		// The archive may not be in reach; peel's own numbers still count.
		fmt.Printf("no DPDK to compare with: %v\n\n", err)
	}
	fmt.Printf("%-24s %12s %12s %8s\n", "million instructions/s", "peel", "DPDK", "ratio")
	for _, p := range programs() {
		insns := len(p.code) / 8
		r0, own, err := measure(ctx, p.code, seconds)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if peer == nil {
			fmt.Printf("%-24s %12.1f\n", p.name, rate(insns, own))
			continue
		}
		r0Peer, theirs, err := peer.measure(ctx, p.code, seconds)
		if err != nil {
			return fmt.Errorf("%s in DPDK: %w", p.name, err)
		}
		if r0 != r0Peer {
			return fmt.Errorf("%s: r0 is %#x, DPDK says %#x", p.name, r0, r0Peer)
		}
		fmt.Printf("%-24s %12.1f %12.1f %8.2f\n", p.name, rate(insns, own), rate(insns, theirs), rate(insns, own)/rate(insns, theirs))
	}
	fmt.Println()
	return parse(ctx, cache, dir, seconds)
}

func rate(insns int, d time.Duration) float64 { return float64(insns) / d.Seconds() / 1e6 }

// fastest runs f for some seconds and returns the time of the fastest run.
func fastest(seconds int, f func() error) (time.Duration, error) {
	best := time.Duration(1<<63 - 1)
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		best = min(best, time.Since(start))
	}
	return best, nil
}

// measure runs a program in package bpf and returns R0 and the time of the
// fastest run.
func measure(ctx context.Context, code []byte, seconds int) (uint64, time.Duration, error) {
	m, err := bpf.OpenRaw(code).Link(nil, bpf.Options{})
	if err != nil {
		return 0, 0, err
	}
	addr, err := m.Map("memory", make([]byte, memoryBytes), bpf.PermRead|bpf.PermWrite)
	if err != nil {
		return 0, 0, err
	}
	var r0 uint64
	d, err := fastest(seconds, func() error {
		r0, err = m.Run(ctx, m.Programs()[0], addr, memoryBytes)
		return err
	})
	return r0, d, err
}
