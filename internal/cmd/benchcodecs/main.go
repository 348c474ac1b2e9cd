// SPDX-License-Identifier: Apache-2.0

// Command benchcodecs sets the decoders of package inflate against the C tools
// on one file, such as a kernel, and prints the ratios.
//
// In: a file and the tools on PATH. Out: a Markdown table. Each decoder and each
// tool runs as a process of its own on the same compressed file, in turn, and
// the best of several runs counts, each figure for itself. Two pairs are compared.
// Output that is kept is what a boot pays: the tool writes a new file in memory,
// the decoder new sealed memory; time and processor time count from the start of the
// process until the output is there. Output that costs nothing shows the decoder alone:
// the tool writes to /dev/null, the decoder into memory used before, without the
// start of its process.
// It must never decide that a result is good: people do.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/peelboot/peel/inflate"
	"github.com/peelboot/peel/internal/sealed"
)

// codec is a way to pack the input and the tool that unpacks it.
type codec struct {
	name         string
	pack, unpack string // tool and arguments
	dictionary   int64  // bytes that a decoder may hold beside the output
	target       float64
}

func codecs(branch string) []codec {
	return []codec{
		{"gzip", "gzip -n -9", "gzip -dc", 32 << 10, 1},
		{"zstd", "zstd -q --ultra -22 --long=27", "zstd -q -dc --long=27", 128 << 20, 1},
		{"lz4", "lz4 -l -9", "lz4 -dc", 0, 1},
		{"lzo", "lzop -9", "lzop -dc", 0, 1},
		{"xz", "xz -T1 --check=crc32 " + branch + " --lzma2=preset=9", "xz -dc", 0, 0.7},
		{"lzma", "lzma -9", "lzma -dc", 0, 0},
		{"bzip2", "bzip2 -9", "bzip2 -dc", 0, 0},
	}
}

func main() {
	input := flag.String("input", "", "`file` to pack and unpack, such as an uncompressed kernel")
	branch := flag.String("branch", "--x86", "branch `filter` of xz for the file's architecture")
	runs := flag.Int("runs", 5, "runs of each; the best counts")
	only := flag.String("only", "", "comma-separated `names` of codecs; all if empty")
	child := flag.Int("child", 0, "decode the named file this `often` and print what it took (for its own use)")
	flag.Parse()
	var err error
	switch {
	case *child > 0:
		err = decode(flag.Arg(0), flag.Arg(1), *child)
	case *input == "" || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	default:
		err = compare(*input, *branch, *only, *runs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchcodecs:", err)
		os.Exit(1)
	}
}

// decode is one process of a decoder. Before it gives the output back, it prints
// the nanoseconds that the last of the given times took, the first of which is
// into memory that was never used, those of processor time that the whole
// process took until then, and the peak of its resident set in KiB.
func decode(name, size string, times int) error {
	in, err := sealed.Open(name, 1<<30)
	if err != nil {
		return err
	}
	defer in.Close()
	src := in.Bytes()
	want, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	buffer, err := sealed.NewBuffer("benchcodecs", 512<<20)
	if err != nil {
		return err
	}
	defer buffer.Close()
	dst := buffer.Bytes()
	m := inflate.Detect(src)
	buffer.Expect(int64(inflate.ExpectedSize(m, src)))
	var took time.Duration
	for range times {
		start := time.Now()
		r, err := inflate.Decompress(m, dst, src)
		took = time.Since(start)
		if err != nil {
			return err
		}
		if r.Written != want {
			return fmt.Errorf("%s: %d bytes, want %d", name, r.Written, want)
		}
	}
	cpu, err := processorTime()
	if err != nil {
		return err
	}
	peak, err := peakKiB()
	if err != nil {
		return err
	}
	fmt.Println(took.Nanoseconds(), cpu, peak)
	return nil
}

// processorTime returns the nanoseconds that the threads of this process ran.
func processorTime() (int64, error) {
	files, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return 0, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(b), &ns); err != nil {
			return 0, err
		}
		sum += ns
	}
	if sum == 0 {
		return 0, errors.New("no processor time in /proc/self/task/*/schedstat")
	}
	return sum, nil
}

// peakKiB returns the largest resident set this process had.
func peakKiB() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("no VmHWM in /proc/self/status")
}

func compare(input, branch, only string, runs int) error {
	data, err := os.ReadFile(input)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "benchcodecs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	memory, err := os.MkdirTemp("/dev/shm", "benchcodecs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(memory)

	fmt.Printf("%s, %.1f MB, %s/%s, best of %d\n\n", filepath.Base(input), float64(len(data))/1e6, runtime.GOOS, runtime.GOARCH, runs)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(w, "| codec\t packed MB\t kept: tool ms\t peel ms\t ratio\t tool CPU ms\t peel CPU ms\t ratio\t dropped: tool ms\t peel ms\t ratio\t wanted\t beside input and output MiB\t wanted\t")
	fmt.Fprintln(w, "|"+strings.Repeat(" ---\t", 14))
	for _, c := range codecs(branch) {
		if only != "" && !strings.Contains(","+only+",", ","+c.name+",") {
			continue
		}
		packed, err := run(c.pack, data)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, "data."+c.name)
		if err := os.WriteFile(file, packed, 0o600); err != nil {
			return err
		}
		var tool, peel, dropped cost
		var warm time.Duration
		var peak int64
		child := func(times int) (cost, time.Duration, int64, error) {
			return runChild(self, "-child", strconv.Itoa(times), file, strconv.Itoa(len(data)))
		}
		for range runs {
			t, err := timeTool(c.unpack, file, filepath.Join(memory, "out"))
			if err != nil {
				return err
			}
			tool.least(t)
			t, _, kib, err := child(1)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			peel.least(t)
			peak = max(peak, kib<<10-int64(len(data))-int64(len(packed)))
			if t, err = timeTool(c.unpack, file, os.DevNull); err != nil {
				return err
			}
			dropped.least(t)
			_, d, _, err := child(2)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			warm = least(warm, d)
		}
		fmt.Fprintf(w, "| %s\t %.1f\t %s\t %s\t %s\t %s\t %.1f\t %d\t\n", c.name, float64(len(packed))/1e6,
			pair(tool.wall, peel.wall), pair(tool.cpu, peel.cpu), pair(dropped.wall, warm),
			target(c.target), float64(peak)/(1<<20), (c.dictionary+32<<20)>>20)
	}
	return w.Flush()
}

// cost is what a process took.
type cost struct{ wall, cpu time.Duration }

func (c *cost) least(d cost) {
	c.wall, c.cpu = least(c.wall, d.wall), least(c.cpu, d.cpu)
}

// pair is three cells: two times in milliseconds and how often the second goes
// into the first.
func pair(tool, peel time.Duration) string {
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	return fmt.Sprintf("%.0f\t %.0f\t %.2f", ms(tool), ms(peel), ms(tool)/ms(peel))
}

// timed runs a command and returns what it took.
func timed(cmd *exec.Cmd) (cost, error) {
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return cost{time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

// runChild runs this program as a decoder. It returns what that took until the
// output was there, and what it printed.
func runChild(self string, args ...string) (c cost, took time.Duration, kib int64, err error) {
	cmd := exec.CommandContext(context.Background(), self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return c, 0, 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return c, 0, 0, err
	}
	var ns, cpu int64
	_, err = fmt.Fscanln(out, &ns, &cpu, &kib)
	c = cost{time.Since(start), time.Duration(cpu)}
	if werr := cmd.Wait(); werr != nil {
		err = werr
	}
	return c, time.Duration(ns), kib, err
}

func target(f float64) string {
	if f == 0 {
		return "-"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func least(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// run runs a tool as a filter over data.
func run(command string, data []byte) ([]byte, error) {
	args := strings.Fields(command)
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return out, nil
}

// timeTool runs a tool on a file, its output going to a file of the given name.
func timeTool(command, file, output string) (cost, error) {
	args := strings.Fields(command)
	in, err := os.Open(file)
	if err != nil {
		return cost{}, err
	}
	defer in.Close()
	// A file that exists already would save the tool the pages.
	if output != os.DevNull {
		os.Remove(output)
	}
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return cost{}, err
	}
	defer out.Close()
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	return timed(cmd)
}
