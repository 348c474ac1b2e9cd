// SPDX-License-Identifier: Apache-2.0

// Command setvar writes an EFI variable of the machine that it runs on, for tests in virtual machines: name, attributes
// in hexadecimal, text, which may be empty.
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/peelboot/peel/machine/efivarfs"
)

// guid is one that no firmware knows.
const guid = "7e6ba9f2-1a62-4f0a-9d5e-5b2f10737065"

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: setvar NAME ATTRIBUTES TEXT")
		os.Exit(2)
	}
	attributes, err := strconv.ParseUint(os.Args[2], 16, 32)
	if err == nil {
		err = efivarfs.Default.Set(os.Args[1], guid, uint32(attributes), []byte(os.Args[3]))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
