// SPDX-License-Identifier: Apache-2.0

// Probe calls package kexec inside a virtual machine and prints what comes of
// it as JSON.
//
//	probe load KERNEL INITRD|- CMDLINE [crash]
//	probe segments [crash]
//	probe unload [crash]
//	probe exec
//	probe state
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/peelboot/peel/internal/sealed"
	"github.com/peelboot/peel/kexec"
	"github.com/peelboot/peel/machine"
)

type answer struct {
	Error       string            `json:"error,omitempty"`
	Call        string            `json:"call,omitempty"`
	Errno       string            `json:"errno,omitempty"`
	Kind        string            `json:"kind,omitempty"`
	Loaded      bool              `json:"loaded"`
	CrashLoaded bool              `json:"crashLoaded"`
	Route       kexec.Route       `json:"route,omitempty"`
	Findings    map[string]string `json:"findings,omitempty"`
}

func main() {
	a := answer{}
	m, err := machine.Read("/")
	if err == nil {
		err = run(m, os.Args[1:], &a)
	}
	if err != nil {
		a.Error = err.Error()
		var e *kexec.Error
		if errors.As(err, &e) {
			a.Call, a.Errno = e.Call, e.Errno.Error()
			if e.Kind != nil {
				a.Kind = e.Kind.Error()
			}
		}
	}
	// The state after the call is a fact of its own.
	if m, err := machine.Read("/"); err == nil {
		s := kexec.StatusOf(m)
		a.Loaded, a.CrashLoaded = s.Loaded.Value, s.CrashLoaded.Value
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(m *machine.Machine, args []string, a *answer) error {
	c := kexec.Client{Machine: m}
	crash := args[len(args)-1] == "crash"
	switch args[0] {
	case "load":
		kernel, err := sealed.Open(args[1], 1<<30)
		if err != nil {
			return err
		}
		defer kernel.Close()
		var initrd *os.File
		if args[2] != "-" {
			i, err := sealed.Open(args[2], 1<<30)
			if err != nil {
				return err
			}
			defer i.Close()
			initrd = i.File()
		}
		return c.LoadFile(kernel.File(), initrd, args[3], kexec.FileFlags{Crash: crash})
	case "segments":
		// A page of zeroes in the last usable megabyte, never started.
		where := m.Memory.Usable.Value
		if crash {
			where = m.Memory.Crash.Value
		}
		if len(where) == 0 {
			return errors.New("no place for a segment")
		}
		page := m.CPU.PageSize.Value
		at := (where[len(where)-1].Last + 1 - page) &^ (page - 1)
		return c.LoadSegments(at, []kexec.Segment{{Buf: []byte{0xf4}, Phys: at, MemSize: page}}, m.CPU.Arch.Value, crash)
	case "unload":
		return c.Unload(crash)
	case "exec":
		return c.Exec(context.Background(), kexec.ExecOptions{})
	case "state":
		choice, err := kexec.Choose(m, kexec.Wish{})
		a.Route = choice.Route
		a.Findings = map[string]string{}
		for _, f := range kexec.Diagnose(m) {
			a.Findings[f.What] = string(f.State)
		}
		return err
	}
	return fmt.Errorf("no command %q", args[0])
}
