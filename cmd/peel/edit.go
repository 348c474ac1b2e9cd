// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/sealed"
)

func (a *app) editCommand() *cobra.Command {
	var out outputFlags
	var sf signFlags
	var set, drop []string
	var profile string
	cmd := &cobra.Command{
		Use:   "edit IMAGE -o FILE",
		Short: "Replace, add or drop sections of a unified kernel image or addon",
		Long: `Change sections of an image and write the result to FILE, which may be IMAGE itself with --force. The signatures
of IMAGE do not fit the result and are dropped; --key makes a new one.

A NAME may be written without its dot. Without --profile the base is changed.`,
		Example: `  peel edit linux.efi --set cmdline="root=/dev/vda2 quiet" -o new.efi --key db.key --cert db.pem
  peel edit linux.efi --set pcrsig=@linux.pcrsig --drop splash -o new.efi`,
		GroupID: "make",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check("edit"); err != nil {
				return err
			}
			if len(set) == 0 && len(drop) == 0 {
				return usagef("edit: nothing to do: --set or --drop is missing")
			}
			e := &build.Edit{Image: build.File(args[0]), Profile: uki.Base}
			for _, s := range set {
				n, err := namedContent(s, "=")
				if err != nil {
					return err
				}
				n.Name = dotted(n.Name)
				e.Set = append(e.Set, n)
			}
			for _, n := range drop {
				e.Drop = append(e.Drop, dotted(n))
			}
			var err error
			if profile != "" {
				if e.Profile, err = profileNumber(args[0], profile); err != nil {
					return err
				}
			}
			sigs, err := sf.signatures()
			if err != nil {
				return err
			}
			im, err := e.Build(cmd.Context())
			if err != nil {
				return err
			}
			defer im.Close()
			return a.writeImage(cmd, im, out.path, build.FileOptions{Replace: out.force, Sign: sigs})
		},
	}
	a.jsonFlag(cmd)
	out.add(cmd)
	sf.add(cmd, "the result")
	cmd.Flags().StringArrayVar(&set, "set", nil, "replace or add a section: `NAME=TEXT` or NAME=@FILE (repeatable)")
	cmd.Flags().StringArrayVar(&drop, "drop", nil, "drop the sections of this `NAME` (repeatable)")
	cmd.Flags().StringVar(&profile, "profile", "", "change the `PROFILE` with this number or ID, not the base")
	return cmd
}

func dotted(name string) string {
	if name != "" && name[0] != '.' {
		return "." + name
	}
	return name
}

// profileNumber finds a profile by number or ID.
func profileNumber(path, want string) (int, error) {
	m, err := sealed.Open(path, build.MaxFile)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	f, err := pe.Parse(m.Bytes())
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	img, err := uki.Read(f)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	var n int
	if _, err := fmt.Sscanf(want, "%d", &n); err == nil && fmt.Sprint(n) == want {
		if n < 0 || n >= len(img.Profiles) {
			return 0, fmt.Errorf("%s: %w: %d of %d", path, uki.ErrProfile, n, len(img.Profiles))
		}
		return n, nil
	}
	return img.ProfileByID(want)
}
