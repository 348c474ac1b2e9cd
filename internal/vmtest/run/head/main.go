// SPDX-License-Identifier: Apache-2.0

// Command head prints the first bytes of a file in hexadecimal. It is for tests in virtual machines.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
)

func main() {
	if err := head(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "head:", err)
		os.Exit(1)
	}
}

func head(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want a file and a number of bytes, got %q", args)
	}
	n, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := io.ReadFull(f, b); err != nil {
		return err
	}
	_, err = fmt.Printf("%x", b)
	return err
}
