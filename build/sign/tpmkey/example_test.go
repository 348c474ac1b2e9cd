// SPDX-License-Identifier: Apache-2.0

package tpmkey_test

import (
	"fmt"
	"os"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/build/sign/tpmkey"
)

// A key in the TPM becomes a sign.Key like any other.
func ExampleLoad() {
	file, err := os.ReadFile("db.key")
	if err != nil {
		fmt.Println(err)
		return
	}
	signer, err := tpmkey.Load(file, tpmkey.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	cert, err := os.ReadFile("db.pem")
	if err != nil {
		fmt.Println(err)
		return
	}
	certs, err := sign.ParseCertificates(cert)
	if err != nil {
		fmt.Println(err)
		return
	}
	key := sign.Key{Signer: signer, Certificate: certs[0]}
	message, err := sign.Detached([]byte("data"), key, sign.Options{})
	fmt.Println(len(message) > 0, err)
}
