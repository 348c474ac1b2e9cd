// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command segtrace runs a program inside a virtual machine, looks at what it
// hands to kexec_load, and prints that as JSON. The call is carried out. With
// -plain it leaves the program alone, and prints how long it took and how much
// memory it had at most. With -fill it makes a file of bytes that are not zero.
//
//	segtrace [-plain] PROGRAM ARGUMENT...
//	segtrace -fill FILE BYTES
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peelboot/peel/internal/vmtest/boot/segtrace/trace"
)

var le = binary.LittleEndian

func main() {
	// All ptrace requests must come from the thread that attached.
	runtime.LockOSThread()
	argv, run := os.Args[1:], traced
	if len(argv) == 3 && argv[0] == "-fill" {
		if err := fill(argv[1], argv[2]); err != nil {
			fmt.Fprintln(os.Stderr, "segtrace:", err)
			os.Exit(1)
		}
		return
	}
	if len(argv) > 0 && argv[0] == "-plain" {
		argv, run = argv[1:], plain
	}
	if len(argv) == 0 {
		fmt.Fprintln(os.Stderr, "usage: segtrace [-plain] PROGRAM ARGUMENT...")
		os.Exit(2)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	// Standard output is for the JSON.
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	c, err := run(cmd)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "segtrace:", err)
		os.Exit(1)
	}
}

func fill(name, size string) error {
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	block := bytes.Repeat([]byte("initrd, "), 1<<17)
	for n > 0 && err == nil {
		var done int
		done, err = f.Write(block[:min(int64(len(block)), n)])
		n -= int64(done)
	}
	return errors.Join(err, f.Close())
}

// plain runs a program as it is and measures it.
func plain(cmd *exec.Cmd) (*trace.Call, error) {
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return &trace.Call{
		Status: cmd.ProcessState.ExitCode(), MaxResidentKB: int64(usage.Maxrss), Microseconds: time.Since(start).Microseconds(),
	}, nil
}

// traced runs a program and stops it at each system call.
func traced(cmd *exec.Cmd) (*trace.Call, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	program := cmd.Process.Pid
	call := &trace.Call{}
	entering := map[int]bool{}
	for known := false; ; {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WALL, nil)
		if err != nil {
			return nil, err
		}
		if ws.Exited() || ws.Signaled() {
			if pid == program {
				call.Status = ws.ExitStatus()
				return call, nil
			}
			continue
		}
		signal := 0
		switch {
		case !known:
			// The stop behind execve.
			known = true
			options := syscall.PTRACE_O_TRACESYSGOOD | syscall.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
			if err := syscall.PtraceSetOptions(program, options); err != nil {
				return nil, err
			}
		case ws.StopSignal() == syscall.SIGTRAP|0x80:
			if entering[pid] = !entering[pid]; !entering[pid] {
				break
			}
			number, args, err := arguments(pid)
			if err != nil {
				return nil, err
			}
			if number == unix.SYS_KEXEC_LOAD && args[1] > 0 {
				if err := read(pid, args, call); err != nil {
					return nil, fmt.Errorf("memory of the program: %w", err)
				}
			}
		case ws.StopSignal() != syscall.SIGTRAP && ws.StopSignal() != syscall.SIGSTOP:
			signal = int(ws.StopSignal())
		}
		if err := syscall.PtraceSyscall(pid, signal); err != nil && err != syscall.ESRCH {
			return nil, err
		}
	}
}

// read takes the segments out of the program's memory.
func read(pid int, args [4]uint64, call *trace.Call) error {
	m, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	defer m.Close()
	call.Entry, call.Flags = args[0], args[3]
	for i := range args[1] {
		var raw [32]byte // struct kexec_segment: buf, bufsz, mem, memsz
		if _, err := m.ReadAt(raw[:], int64(args[2]+32*i)); err != nil {
			return err
		}
		word := func(n int) uint64 { return le.Uint64(raw[8*n:]) }
		s := trace.Segment{Size: word(1), Phys: word(2), MemSize: word(3)}
		h := sha256.New()
		buf := make([]byte, 1<<20)
		for at := uint64(0); at < s.Size; {
			n := min(uint64(len(buf)), s.Size-at)
			if _, err := m.ReadAt(buf[:n], int64(word(0)+at)); err != nil {
				return err
			}
			h.Write(buf[:n])
			if at == 0 {
				s.Head = append(s.Head, buf[:min(n, trace.HeadSize)]...)
			}
			at += n
		}
		s.SHA256 = h.Sum(nil)
		call.Segments = append(call.Segments, s)
	}
	return nil
}
