// SPDX-License-Identifier: Apache-2.0

// Command verify asks the verifier of the running kernel about BPF objects. It
// runs as root inside a guest and attaches nothing.
//
//	verify OBJECT...
//
// For each object it prints a line: the path, "accepted" or "refused", and how
// many instructions the verifier looked at. The reason of a refusal follows.
package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/cilium/ebpf"
)

func main() {
	bad := 0
	for _, path := range os.Args[1:] {
		insns, err := verify(path)
		if err != nil {
			bad = 1
			fmt.Printf("%s refused %s\n%v\n", path, insns, err)
			continue
		}
		fmt.Printf("%s accepted %s\n", path, insns)
	}
	os.Exit(bad)
}

var processed = regexp.MustCompile(`(?m)^processed (\d+) insns`)

// verify loads the programs of an object and returns how many instructions the
// verifier looked at.
func verify(path string) (string, error) {
	spec, err := ebpf.LoadCollectionSpec(path)
	if err != nil {
		return "", err
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) && len(refused.Log) > 20 {
		refused.Log = refused.Log[len(refused.Log)-20:]
	}
	if err != nil {
		return "", fmt.Errorf("%+v", err)
	}
	defer c.Close()
	for _, p := range c.Programs {
		if m := processed.FindStringSubmatch(p.VerifierLog); m != nil {
			return m[1], nil
		}
	}
	return "", errors.New("no program, or the verifier did not say how many instructions it looked at")
}
