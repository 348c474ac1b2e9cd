// SPDX-License-Identifier: Apache-2.0

// Command benchcodecs sets the decoders of package inflate against the C tools
// on one file, such as a kernel, and prints the ratios.
//
// In: a file and the tools on PATH. Out: a Markdown table. Each decoder and each
// tool runs as a process of its own on the same compressed file, and the best of
// several runs counts. Two pairs are compared: output that is kept (the tool
// writes a file in memory, the decoder into memory never used before), and
// output that costs nothing (the tool writes to /dev/null, the decoder into
// memory used before). The first is what a boot pays.
// It must never decide that a result is good: people do.
package main

import (
	"bytes"
	"context"
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
	child := flag.Bool("child", false, "decode the named file once and print nanoseconds and kilobytes (for its own use)")
	flag.Parse()
	var err error
	switch {
	case *child:
		err = decode(flag.Arg(0), flag.Arg(1))
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

// decode is one run of a decoder. It prints what Decompress took into memory
// that was never used, the same again into memory that was, and the peak of the
// resident set in KiB.
func decode(name, size string) error {
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
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
	var took [2]time.Duration
	for i := range took {
		start := time.Now()
		r, err := inflate.Decompress(m, dst, src)
		took[i] = time.Since(start)
		if err != nil {
			return err
		}
		if r.Written != want {
			return fmt.Errorf("%s: %d bytes, want %d", name, r.Written, want)
		}
	}
	peak, err := peakKiB()
	if err != nil {
		return err
	}
	fmt.Println(took[0].Nanoseconds(), took[1].Nanoseconds(), peak)
	return nil
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
	fmt.Fprintln(w, "| codec\t packed MB\t tool, kept MB/s\t peel, kept MB/s\t ratio\t tool, dropped MB/s\t peel, dropped MB/s\t ratio\t wanted\t beside input and output MiB\t wanted\t")
	fmt.Fprintln(w, "|"+strings.Repeat(" ---\t", 11))
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
		var kept, dropped, cold, warm time.Duration
		var peak int64
		for range runs {
			t, err := timeTool(c.unpack, file, filepath.Join(memory, "out"))
			if err != nil {
				return err
			}
			kept = least(kept, t)
			if t, err = timeTool(c.unpack, file, os.DevNull); err != nil {
				return err
			}
			dropped = least(dropped, t)
			out, err := exec.CommandContext(context.Background(), self, "-child", file, strconv.Itoa(len(data))).Output()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			var ns [2]int64
			var kib int64
			if _, err := fmt.Sscan(string(out), &ns[0], &ns[1], &kib); err != nil {
				return err
			}
			cold = least(cold, time.Duration(ns[0]))
			warm = least(warm, time.Duration(ns[1]))
			peak = max(peak, kib<<10-int64(len(data))-int64(len(packed)))
		}
		rate := func(d time.Duration) float64 { return float64(len(data)) / 1e6 / d.Seconds() }
		fmt.Fprintf(w, "| %s\t %.1f\t %.0f\t %.0f\t %.2f\t %.0f\t %.0f\t %.2f\t %s\t %.1f\t %d\t\n", c.name, float64(len(packed))/1e6,
			rate(kept), rate(cold), rate(cold)/rate(kept), rate(dropped), rate(warm), rate(warm)/rate(dropped),
			target(c.target), float64(peak)/(1<<20), (c.dictionary+32<<20)>>20)
	}
	return w.Flush()
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
func timeTool(command, file, output string) (time.Duration, error) {
	args := strings.Fields(command)
	in, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	// A file that exists already would save the tool the pages.
	if output != os.DevNull {
		os.Remove(output)
	}
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w", command, err)
	}
	return time.Since(start), nil
}
