// SPDX-License-Identifier: Apache-2.0

// Peel-pkcs11 signs for peel with keys in PKCS #11 tokens. peel runs it when a
// key is named by a pkcs11: URI; it speaks docs/signer-protocol.md on standard
// input and output.
package main

import (
	"fmt"
	"os"

	"github.com/peelboot/peel/pkcs11/serve"
	"github.com/peelboot/peel/pkcs11/token"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "peel-pkcs11 is run by peel: peel sign FILE --key 'pkcs11:token=...;object=...' --pin-source FILE")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peel-pkcs11:", err)
		os.Exit(1)
	}
}

func run() error {
	// What a module prints must not get between the answers.
	out, err := ownOutput()
	if err != nil {
		return err
	}
	return serve.Run(os.Stdin, out, func(key, pin string) (serve.Key, error) {
		k, err := token.Open(key, pin)
		if err != nil {
			return nil, err
		}
		return k, nil
	})
}
