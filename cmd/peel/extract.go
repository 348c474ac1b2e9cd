// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
)

// extracted is what extract says about one file that it wrote.
type extracted struct {
	File   string `json:"file"`
	Origin string `json:"origin"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

func (a *app) extractCommand() *cobra.Command {
	var judge judgeFlags
	var dir, profile, volume string
	var force, layers bool
	cmd := &cobra.Command{
		Use:   "extract IMAGE -o DIR",
		Short: "Write kernel, initrd, command line … as they would boot",
		Long: `Take an image apart and write its parts to DIR: kernel, initrd (all of them in the
order in which the kernel sees them), cmdline without a final newline, dtb, and the parts that only
describe, such as osrel and uname. The files hold exactly the bytes in the image. With --layers, each image
on the way to the kernel is written as well: layer.0 is IMAGE itself.

The image is judged first, by the same rules as 'peel load'; --policy off extracts from anything.`,
		Example: "  peel extract linux.efi -o parts --policy off",
		GroupID: "look",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir == "" {
				return usagef("extract: -o DIR is missing")
			}
			m, err := a.machine()
			if err != nil {
				return err
			}
			v, err := judge.verifier(a, m)
			if err != nil {
				return err
			}
			im, err := peel.Open(args[0], peel.Options{Verifier: v, Beside: true, Profile: profile, Volume: volume, Logger: a.logger()})
			if err != nil {
				return err
			}
			defer im.Close()
			d, err := im.Decompose(cmd.Context())
			if r, _ := im.Verify(); r != nil {
				warnReport(a.err, r)
			}
			if err != nil {
				return err
			}
			defer d.Close()
			files, err := writeParts(dir, d, layers, force)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, files)
			}
			for _, f := range files {
				fmt.Fprintf(a.out, "%-24s %10s  from %s\n", f.File, size(uint64(f.Size)), oneLine(f.Origin))
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	judge.add(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "write the parts to `DIR`, which is made if need be")
	cmd.Flags().StringVar(&profile, "profile", "", "take the `PROFILE` with this number or ID")
	cmd.Flags().StringVar(&volume, "esp", "", "the image's volume is mounted at `DIR` (default: above the directory EFI it lies in)")
	cmd.Flags().BoolVar(&layers, "layers", false, "write every layer between IMAGE and the kernel as well")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace files that exist")
	return cmd
}

// writeParts writes each part to a file of its own, all or none.
func writeParts(dir string, d *peel.Decomposition, layers, force bool) ([]extracted, error) {
	type file struct {
		name, origin string
		data         [][]byte
	}
	p := d.Payload
	list := []file{{"kernel", p.Kernel.Origin, [][]byte{p.Kernel.Data}}}
	if len(p.Initrds) == 1 {
		list = append(list, file{"initrd", p.Initrds[0].Origin, [][]byte{p.Initrds[0].Data}})
	} else {
		for i, part := range p.Initrds {
			list = append(list, file{fmt.Sprintf("initrd.%d", i+1), part.Origin, [][]byte{part.Data}})
		}
	}
	for i, part := range p.Microcode {
		name := "ucode"
		if len(p.Microcode) > 1 {
			name = fmt.Sprintf("ucode.%d", i+1)
		}
		list = append(list, file{name, part.Origin, [][]byte{part.Data}})
	}
	if len(p.CmdlineParts) > 0 || p.Cmdline != "" {
		var from []string
		for _, part := range p.CmdlineParts {
			from = append(from, part.Origin)
		}
		list = append(list, file{"cmdline", strings.Join(from, " + "), [][]byte{[]byte(p.Cmdline)}})
	}
	if p.DTB != nil {
		list = append(list, file{"dtb", p.DTB.Origin, [][]byte{p.DTB.Data}})
	}
	for i, part := range p.DTBOverlays {
		list = append(list, file{fmt.Sprintf("overlay.%d.dtbo", i+1), part.Origin, [][]byte{part.Data}})
	}
	for _, part := range d.Extra {
		list = append(list, file{strings.TrimPrefix(filepath.Base(part.Name), "."), part.Origin, [][]byte{part.Data}})
	}
	if layers {
		for i, l := range p.Layers {
			list = append(list, file{fmt.Sprintf("layer.%d.%s", i, l.Kind), l.Name, [][]byte{l.Data}})
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	var out []extracted
	var temps []string
	defer func() {
		for _, t := range temps {
			os.Remove(t)
		}
	}()
	for _, f := range list {
		path := filepath.Join(dir, f.name)
		if _, err := os.Lstat(path); err == nil && !force {
			return nil, fmt.Errorf("%s exists; --force replaces it", path)
		}
		t, err := os.CreateTemp(dir, "."+f.name+".*")
		if err != nil {
			return nil, err
		}
		temps = append(temps, t.Name())
		h := sha256.New()
		n := 0
		for _, b := range f.data {
			if _, err := t.Write(b); err != nil {
				t.Close()
				return nil, err
			}
			h.Write(b)
			n += len(b)
		}
		if err := t.Chmod(0o644); err != nil {
			t.Close()
			return nil, err
		}
		if err := t.Close(); err != nil {
			return nil, err
		}
		out = append(out, extracted{File: path, Origin: f.origin, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))})
	}
	for i, t := range temps {
		if err := os.Rename(t, out[i].File); err != nil {
			return nil, err
		}
	}
	temps = nil
	return out, nil
}
