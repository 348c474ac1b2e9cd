// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/internal/testkit"
	"github.com/peelboot/peel/internal/testkit/artefact"
	"github.com/peelboot/peel/internal/testkit/guest"
	"github.com/peelboot/peel/internal/testkit/vmkit"
)

// seen is what the probe says in a guest.
type seen struct {
	Log    []byte                       `json:"log"`
	IMA    []byte                       `json:"ima"`
	PCRs   map[string]map[string]string `json:"pcrs"`
	Vars   map[string][]byte            `json:"vars"`
	Errors []string                     `json:"errors"`
}

// esp returns the image of an EFI system partition with files, by path.
func esp(t *testing.T, files map[string]string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "esp.img")
	size := int64(40 << 20)
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += fi.Size() + 1<<20
	}
	f, err := os.Create(img)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size &^ (1<<20 - 1)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	testkit.Run(t, "", "mformat", "-i", img, "-F", "::")
	made := map[string]bool{}
	for name, file := range files {
		var up []string
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			up = append([]string{d}, up...)
		}
		for _, d := range up {
			if !made[d] {
				testkit.Run(t, "", "mmd", "-i", img, "::/"+d)
				made[d] = true
			}
		}
		testkit.Run(t, "", "mcopy", "-i", img, file, "::/"+name)
	}
	return img
}

// probe is the guest's file of that name.
func probe(t *testing.T, goarch string) testkit.File {
	t.Helper()
	return testkit.Exec(t, "bin/probe", testkit.BuildBinary(t, "./internal/vmtest/measure/testdata/probe", goarch))
}

// debian spells an architecture as Debian and Go do.
func debian(a image.Arch) string {
	if a == image.ArchX86_64 {
		return "amd64"
	}
	return string(a)
}

// result decodes what the probe said in a step.
func result(t *testing.T, run *vmkit.Run, step string) seen {
	t.Helper()
	r := run.Result(step)
	var s seen
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
		t.Fatalf("%s: %v: %s%s", step, err, r.Stdout, r.Stderr)
	}
	if len(s.Errors) > 0 {
		t.Fatalf("%s: %s", step, strings.Join(s.Errors, "; "))
	}
	return s
}

// probeStep is the name of the probe's step in a kernel's script.
func probeStep(name string) string {
	if name == "measured" {
		return "probe"
	}
	return name + " probe"
}

// initrd is a guest's that runs the probe, and then more. It has the modules to look at EFI variables and, where that driver
// is one, at the TPM.
func initrd(t *testing.T, a image.Arch, k artefact.KernelImage, name string, steps []guest.Step, files ...testkit.File) []byte {
	t.Helper()
	modules := []string{"efivarfs"}
	if a == image.ArchARM64 {
		modules = append(modules, "tpm_tis_core", "tpm_tis")
	}
	if k.Modules == "" {
		modules = nil
	}
	script := guest.Script{Name: name, Steps: append([]guest.Step{{Name: probeStep(name), Argv: []string{"/bin/probe"}}}, steps...)}
	for _, m := range modules {
		files = append(files, testkit.Plain("modules/"+m+".ko", testkit.Module(t, k, m)))
		script.Modules = append(script.Modules, "/modules/"+m+".ko")
	}
	return vmkit.Initramfs(t, a, script, append(files, probe(t, debian(a)))...)
}
