// SPDX-License-Identifier: Apache-2.0

package external_test

import (
	"context"
	"fmt"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/build/sign/external"
)

// A key in a smart card signs a file.
func ExampleStart() {
	signer, err := external.Start(context.Background(), external.Options{
		Program: "peel-pkcs11", Key: "pkcs11:token=site;object=db", PIN: "1234",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer signer.Close()
	key := sign.Key{Signer: signer, Certificate: signer.Certificates()[0]}
	message, err := sign.Detached([]byte("data"), key, sign.Options{})
	fmt.Println(len(message) > 0, err)
}
