// SPDX-License-Identifier: Apache-2.0

// Command benchpeers times peel beside the programs that people use instead,
// on the same real image, as whole processes: seconds of wall clock, seconds
// of processor, peak memory. It prints medians and ratios; machines differ,
// ratios less so.
//
//	benchpeers -peel out/peel-linux-amd64 -tools DIR [-size MiB] [-runs N]
package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"github.com/peelboot/peel/internal/testkit/artefact"
)

func main() {
	peel := flag.String("peel", "out/peel-linux-amd64", "the peel to measure")
	mib := flag.Int("size", 88, "size of the initrd in MiB")
	runs := flag.Int("runs", 7, "counted runs of each command")
	flag.Parse()
	if err := run(*peel, *mib, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "benchpeers:", err)
		os.Exit(1)
	}
}

func run(peel string, mib, runs int) error {
	cache, err := artefact.Open()
	if err != nil {
		return err
	}
	peel, err = filepath.Abs(peel)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "peel-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f := &fixture{cache: cache, dir: dir}
	if err := f.make(mib); err != nil {
		return err
	}
	info, err := os.Stat(f.uki)
	if err != nil {
		return err
	}
	fmt.Printf("a signed UKI of %.1f MiB, %d runs of each command after one that is not counted\n\n", float64(info.Size())/(1<<20), runs)
	var rows []row
	for _, c := range f.commands(peel) {
		r, err := measure(c, runs)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	print(rows, float64(info.Size())/(1<<20))
	return nil
}

// fixture is the image that all commands work on.
type fixture struct {
	cache          *artefact.Cache
	dir, uki, cert string
}

func (f *fixture) tool(name string, args ...string) error {
	path, err := f.cache.Tool(name)
	if err != nil {
		return err
	}
	_, err = finish(command{name, append([]string{path}, args...)})
	return err
}

func (f *fixture) make(mib int) error {
	at := func(name string) string { return filepath.Join(f.dir, name) }
	kernel, err := f.cache.Kernel("amd64", "6.12")
	if err != nil {
		return err
	}
	stub, err := f.cache.Stub("amd64", "trixie")
	if err != nil {
		return err
	}
	// Written piece by piece: a child's peak memory counts from its parent's.
	initrd, err := os.Create(at("initrd"))
	if err != nil {
		return err
	}
	if _, err := io.CopyN(initrd, rand.Reader, int64(mib)<<20); err != nil {
		return err
	}
	if err := initrd.Close(); err != nil {
		return err
	}
	f.uki, f.cert = at("signed.efi"), at("db.pem")
	return errors.Join(
		f.tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench", "-keyout", at("db.key"), "-out", f.cert),
		f.tool("ukify", "build", "--linux="+kernel.Path, "--stub="+stub, "--initrd="+at("initrd"), "--cmdline=quiet", "--uname=bench", "--output="+at("plain.efi")),
		f.tool("sbsign", "--key", at("db.key"), "--cert", f.cert, "--output", f.uki, at("plain.efi")),
	)
}

type command struct {
	name string
	argv []string
}

// commands are peel's own first, then the peers that do a part of it.
func (f *fixture) commands(peel string) []command {
	tool := func(name string) string {
		path, err := f.cache.Tool(name)
		if err != nil {
			return name
		}
		return path
	}
	return []command{
		{"peel load --dry-run (verify + decompose)", []string{peel, "load", "--dry-run", "--cert", f.cert, f.uki}},
		{"peel verify", []string{peel, "verify", "--cert", f.cert, f.uki}},
		{"peel extract", []string{peel, "extract", "--force", "-o", filepath.Join(f.dir, "parts"), "--cert", f.cert, f.uki}},
		{"sha256sum", []string{"sha256sum", f.uki}},
		{"objcopy --dump-section", []string{tool("objcopy"), "--dump-section", ".linux=" + filepath.Join(f.dir, "k"),
			"--dump-section", ".initrd=" + filepath.Join(f.dir, "i"), "--dump-section", ".cmdline=" + filepath.Join(f.dir, "c"), f.uki, filepath.Join(f.dir, "copy")}},
		{"sbverify", []string{tool("sbverify"), "--cert", f.cert, f.uki}},
	}
}

func print(rows []row, mib float64) {
	base := rows[0]
	fmt.Printf("%-42s %8s %8s %9s %9s   %s\n", "", "wall s", "cpu s", "MiB/s", "peak MiB", "wall beside "+base.name)
	for _, r := range rows {
		fmt.Printf("%-42s %8.3f %8.3f %9.0f %9.0f   %.2f\n", r.name, r.wall, r.cpu, mib/r.wall, r.peak, r.wall/base.wall)
	}
}

func median(v []float64) float64 {
	sort.Float64s(v)
	return v[len(v)/2]
}
