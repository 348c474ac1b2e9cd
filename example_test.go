// SPDX-License-Identifier: Apache-2.0

package peel_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/trust"
)

// exampleUKI makes the smallest unified kernel image: an arm64 kernel of one
// header, an initrd and a command line.
func exampleUKI() *bytes.Buffer {
	kernel := make([]byte, 64)
	copy(kernel[56:], "ARM\x64")
	binary.LittleEndian.PutUint64(kernel[16:], 64)
	b := pe.NewBuilder(pe.Options{Machine: 0xaa64})
	for _, s := range []struct {
		name string
		data []byte
	}{
		{".cmdline", []byte("console=ttyAMA0 quiet")},
		{".linux", kernel},
		{".initrd", []byte("an initrd")},
	} {
		if err := b.Add(pe.NewSection{Name: s.name, Data: [][]byte{s.data}, Characteristics: pe.SectionRead}); err != nil {
			log.Fatal(err)
		}
	}
	l, err := b.Layout()
	if err != nil {
		log.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.WriteTo(&out); err != nil {
		log.Fatal(err)
	}
	return &out
}

// Reading an image judges nothing and runs nothing.
func ExampleRead() {
	im, err := peel.Read(exampleUKI(), "linux.efi", peel.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer im.Close()
	fmt.Println(im.Name(), im.Info().Kind, im.Info().Arch)
	// Output: linux.efi uki arm64
}

// Without keys, nothing may boot. Most callers add the keys they trust to
// trust.Verifier.Keys.Allow, as trust.CertificateList makes them.
func ExampleImage_Verify() {
	im, err := peel.Read(exampleUKI(), "linux.efi", peel.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer im.Close()
	report, err := im.Verify()
	fmt.Println(report.Verdict, report.Layers[0].Code)
	fmt.Println(err)
	// Output:
	// refused no_signature
	// linux.efi: it is not signed, and no list has its digest
}

// A policy that warns takes apart what nobody signed, and says so.
func ExampleImage_Decompose() {
	v := &trust.Verifier{Policy: trust.DefaultPolicy()}
	v.Policy.SetMode(trust.Warn, "this example")
	im, err := peel.Read(exampleUKI(), "linux.efi", peel.Options{Verifier: v})
	if err != nil {
		log.Fatal(err)
	}
	defer im.Close()
	d, err := im.Decompose(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	fmt.Println(d.Payload.Kernel.Origin, len(d.Payload.Kernel.Data))
	for _, p := range d.Payload.Initrds {
		fmt.Printf("%s %q\n", p.Origin, p.Data)
	}
	fmt.Println(d.Payload.Cmdline)
	// Output:
	// linux.efi/.linux 64
	// linux.efi/.initrd "an initrd"
	// console=ttyAMA0 quiet
}
