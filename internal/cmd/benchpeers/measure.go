// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// row is what was measured of one command: medians.
type row struct {
	name            string
	wall, cpu, peak float64
}

type sample struct{ wall, cpu, peak float64 }

// measure runs c once for nothing and then runs times.
func measure(c command, runs int) (row, error) {
	var wall, cpu, peak []float64
	for i := range runs + 1 {
		s, err := finish(c)
		if err != nil {
			return row{}, err
		}
		if i > 0 {
			wall, cpu, peak = append(wall, s.wall), append(cpu, s.cpu), append(peak, s.peak)
		}
	}
	return row{c.name, median(wall), median(cpu), median(peak)}, nil
}

// finish runs c to its end. A wrapper that execs counts as what it runs.
func finish(c command) (sample, error) {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	wall := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w: %s", c.name, err, out)
	}
	s := sample{wall: wall.Seconds(), cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.peak = float64(ru.Maxrss) / 1024
	}
	return s, nil
}
