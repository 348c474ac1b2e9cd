// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/inspect"
)

func (a *app) inspectCommand() *cobra.Command {
	var limit uint64
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show the layers of an image as a tree",
		Long: `Show what an image is made of: kinds, sections, sizes, digests, signers, kernel
version and boot protocol of each layer. Nothing is judged: see 'peel verify'.

IMAGE is a file, or - for standard input. No privilege is needed. The form of --json is documented in
docs/inspect-json.md.`,
		Example: "  peel inspect /efi/EFI/Linux/linux.efi\n  peel inspect --json vmlinuz.efi | jq .layer.kernel.version",
		GroupID: "look",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			im, err := peel.Open(args[0], peel.Options{Logger: a.logger()})
			if err != nil {
				return err
			}
			defer im.Close()
			r := inspect.Describe(args[0], im.Bytes(), inspect.Options{Limit: limit, Digests: a.json})
			if a.json {
				err = printJSON(a.out, r)
			} else {
				err = r.WriteText(a.out)
			}
			if err != nil {
				return err
			}
			// An addon or a container is worth a look although nothing boots it.
			if in := im.Info(); in.Kind != image.KindUnknown && in.Err == nil {
				return nil
			}
			return im.Check()
		},
	}
	a.jsonFlag(cmd)
	cmd.Flags().Uint64Var(&limit, "limit", 512<<20, "decompress at most `BYTES` of a layer")
	return cmd
}
