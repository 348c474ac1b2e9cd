// SPDX-License-Identifier: Apache-2.0

// Package stock holds the parser programs that peel brings along: C sources
// and the BPF objects that build.sh makes of them.
//
// In: nothing. Out: the objects' bytes, in the order in which they are to be
// tried. It must never interpret them: that is what package parser does.
package stock

import "embed"

//go:generate ./build.sh

//go:embed obj/*.o
var files embed.FS

// Names lists the stock programs in the order in which they are tried: the
// formats that hold something first, kernels that boot as they are last.
func Names() []string {
	return []string{"uki", "zboot", "wrapped", "envelope", "boot"}
}

// Objects returns the programs as objects such as clang writes, in the order
// of Names. The bytes must not be changed.
func Objects() [][]byte { return read(".o") }

// Skeletons returns the same programs as light skeletons, wrapped in an ELF
// object the way a kernel with the series expects them.
func Skeletons() [][]byte { return read(".lskel.o") }

func read(suffix string) [][]byte {
	var objects [][]byte
	for _, name := range Names() {
		// The files are part of this package, so they are there; a missing
		// one shows as an empty object, which no host accepts.
		b, err := files.ReadFile("obj/" + name + suffix)
		if err != nil {
			b = nil
		}
		objects = append(objects, b)
	}
	return objects
}
