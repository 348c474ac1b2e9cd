// SPDX-License-Identifier: Apache-2.0

// Command probe prints what the running kernel itself says about its TPM: the firmware's event log, IMA's list, every
// register of every bank, and the Secure Boot variables, as JSON. It shares no code with what it is there to check.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	out := struct {
		Log    []byte                       `json:"log"`
		IMA    []byte                       `json:"ima"`
		PCRs   map[string]map[string]string `json:"pcrs"`
		Vars   map[string][]byte            `json:"vars"`
		Errors []string                     `json:"errors,omitempty"`
	}{PCRs: map[string]map[string]string{}, Vars: map[string][]byte{}}
	fail := func(err error) { out.Errors = append(out.Errors, err.Error()) }
	var err error
	if out.Log, err = os.ReadFile("/sys/kernel/security/tpm0/binary_bios_measurements"); err != nil {
		fail(err)
	}
	if out.IMA, err = os.ReadFile("/sys/kernel/security/ima/binary_runtime_measurements"); err != nil {
		fail(err)
	}
	dirs, err := filepath.Glob("/sys/class/tpm/tpm0/pcr-*")
	if err != nil || len(dirs) == 0 {
		fail(fmt.Errorf("no /sys/class/tpm/tpm0/pcr-*: %v", err))
	}
	for _, d := range dirs {
		bank := strings.TrimPrefix(filepath.Base(d), "pcr-")
		out.PCRs[bank] = map[string]string{}
		for i := range 24 {
			b, err := os.ReadFile(fmt.Sprintf("%s/%d", d, i))
			if err != nil {
				fail(err)
				continue
			}
			out.PCRs[bank][fmt.Sprint(i)] = strings.ToLower(strings.TrimSpace(string(b)))
		}
	}
	for _, v := range []string{
		"SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "PK-8be4df61-93ca-11d2-aa0d-00e098032b8c",
		"KEK-8be4df61-93ca-11d2-aa0d-00e098032b8c", "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f",
		"dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f",
		"MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23", "MokListXRT-605dab50-e046-4300-abb6-3dd810dd8b23",
		"SbatLevelRT-605dab50-e046-4300-abb6-3dd810dd8b23", "MokListTrustedRT-605dab50-e046-4300-abb6-3dd810dd8b23",
	} {
		if b, err := os.ReadFile("/sys/firmware/efi/efivars/" + v); err == nil {
			out.Vars[v] = b
		} else if !os.IsNotExist(err) {
			fail(err)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
