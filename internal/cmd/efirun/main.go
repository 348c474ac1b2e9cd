// SPDX-License-Identifier: Apache-2.0

// Command efirun is for tests: it takes an EFI image the whole run route,
// from its stub's first instruction to the plan, without any verification,
// and loads and starts what came out.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/peelboot/peel/boot"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
)

func main() {
	var initrds [][]byte
	options := flag.String("options", "", "load options")
	files := flag.Bool("files", false, "let the image read files beside it")
	trace := flag.Bool("trace", false, "print each service call")
	start := flag.Bool("exec", false, "start the kernel")
	load := flag.Bool("load", false, "load the kernel")
	root := flag.String("machine", "/", "root of the machine")
	flag.Func("initrd", "initrd to offer", func(p string) error {
		b, err := os.ReadFile(p)
		initrds = append(initrds, b)
		return err
	})
	flag.Parse()
	if err := run(flag.Arg(0), *root, *options, initrds, *files, *trace, *load || *start, *start); err != nil {
		fmt.Fprintln(os.Stderr, "efirun:", err)
		os.Exit(1)
	}
}

func run(path, root, options string, initrds [][]byte, files, trace, load, start bool) error {
	img, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	m, err := machine.Read(root)
	if err != nil {
		return err
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	o := efi.Options{Machine: m, LoadOptions: options, Initrds: initrds, Dir: dir.FS(), Path: filepath.Base(path),
		Verify:  func([]byte) error { return nil },
		Console: func(s string) { fmt.Print(s) }}
	if files {
		o.VerifyFile = func(string, []byte) error { return nil }
	}
	if trace {
		o.Trace = func(c efi.Call) { fmt.Println(c.Name, c.Args, c.Status, c.Note) }
	}
	begin := time.Now()
	st, err := efi.Run(context.Background(), img, o)
	if err != nil {
		return err
	}
	defer st.Close()
	fmt.Printf("%s(%v)\n", st.State, time.Since(begin).Round(time.Millisecond))
	plan, err := boot.Captured(st.State, boot.HostOf(m), boot.Options{})
	if err != nil {
		return err
	}
	fmt.Print(plan)
	if !load {
		return nil
	}
	var segments []kexec.Segment
	for _, s := range plan.Segments {
		segments = append(segments, kexec.Segment{Buf: s.Data, Phys: s.Phys, MemSize: s.MemSize})
	}
	client := kexec.Client{Machine: m}
	if err := client.LoadSegments(plan.Entry, segments, plan.Arch, false); err != nil {
		return err
	}
	if !start {
		return nil
	}
	return client.Exec(context.Background(), kexec.ExecOptions{Force: true})
}
