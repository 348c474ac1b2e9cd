// SPDX-License-Identifier: Apache-2.0

package build_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/build/keyset"
	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/measure/eventlog"
)

// A signed unified kernel image, from files.
func ExampleUKI() {
	key, err := os.ReadFile("db.key")
	if err != nil {
		log.Print(err)
		return
	}
	cert, err := os.ReadFile("db.pem")
	if err != nil {
		log.Print(err)
		return
	}
	k, err := sign.ParsePair(key, cert)
	if err != nil {
		log.Print(err)
		return
	}
	db := []build.Signature{{Key: k}}
	u := &build.UKI{
		Stub:       build.File("linuxx64.efi.stub"),
		Linux:      build.File("vmlinuz"),
		Initrds:    []build.Content{build.File("initrd")},
		Cmdline:    build.Text("root=/dev/vda quiet"),
		SignKernel: db,
	}
	im, err := u.Build(context.Background())
	if err != nil {
		log.Print(err)
		return
	}
	defer im.Close()
	if err := im.WriteFile(context.Background(), "linux.efi", build.FileOptions{Sign: db}); err != nil {
		log.Print(err)
	}
}

// Signatures of PCR 11 by a key that is kept elsewhere: first the policies that
// it is to sign, later its signatures in the finished image.
func ExampleUKI_PCRPolicies() {
	ctx := context.Background()
	u := &build.UKI{Stub: build.File("linuxx64.efi.stub"), Linux: build.File("vmlinuz"), PCRPKey: build.File("pcr.pub.pem")}
	policies, err := u.PCRPolicies(ctx, nil, nil, build.PCROptions{Banks: []eventlog.Hash{eventlog.SHA256}})
	if err != nil {
		log.Print(err)
		return
	}
	for bank, list := range policies {
		for _, p := range list {
			fmt.Println(bank, p.PCRs, p.Policy)
		}
	}
	e := &build.Edit{
		Image: build.File("linux.efi"), Profile: uki.Base,
		Set: []build.NamedContent{{Name: uki.PCRSig, Content: build.File("pcrsig.json")}},
	}
	im, err := e.Build(ctx)
	if err != nil {
		log.Print(err)
		return
	}
	defer im.Close()
	if err := im.WriteFile(ctx, "signed.efi", build.FileOptions{}); err != nil {
		log.Print(err)
	}
}

// Another command line in an image that exists.
func ExampleEdit() {
	e := &build.Edit{
		Image:   build.File("linux.efi"),
		Profile: uki.Base,
		Set:     []build.NamedContent{{Name: uki.Cmdline, Content: build.Text("root=/dev/vdb")}},
		Drop:    []string{uki.Splash},
	}
	im, err := e.Build(context.Background())
	if err != nil {
		log.Print(err)
		return
	}
	defer im.Close()
	if err := im.WriteFile(context.Background(), "new.efi", build.FileOptions{}); err != nil {
		log.Print(err)
	}
}

// Keys for a test machine, and a detached signature with one of them.
func Example_keys() {
	set, err := keyset.New(keyset.Options{Name: "Example", Type: "ecdsa256", Time: time.Unix(1700000000, 0)})
	if err != nil {
		log.Print(err)
		return
	}
	files, err := set.Files()
	if err != nil {
		log.Print(err)
		return
	}
	for _, f := range files {
		if filepath.Ext(f.Name) == ".auth" {
			fmt.Println(f.Name)
		}
	}
	if _, err := sign.Detached([]byte("an initrd"), set.DB, sign.Options{}); err != nil {
		log.Print(err)
	}
	// Output:
	// PK.auth
	// PK-delete.auth
	// KEK.auth
	// db.auth
}
