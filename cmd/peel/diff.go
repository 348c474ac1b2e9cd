// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/inspect"
)

// errDiffer makes diff's exit status 1; everything was printed by then.
var errDiffer = errors.New("the images differ")

func (a *app) diffCommand() *cobra.Command {
	var limit uint64
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say section by section how two images differ",
		Long: `Compare two images: sections that were added, removed or changed, with sizes and the lines or words of
text that differ; facts about the kernel inside, the stub and the headers; signatures. Layers are compared
after decompression.

Exit status 0: the files are equal. 1: they differ. 2: one of them cannot be read.`,
		Example: "  peel diff old.efi new.efi\n  peel diff --json old.efi new.efi | jq -r '.changes[].path'",
		GroupID: "look",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var reports [2]*inspect.Report
			for i, path := range args {
				r, err := a.describe(path, inspect.Options{Limit: limit})
				if err != nil {
					return statusError{exitUsage, err}
				}
				reports[i] = r
			}
			d := inspect.Compare(reports[0], reports[1])
			var err error
			if a.json {
				err = printJSON(a.out, d)
			} else {
				err = d.WriteText(a.out)
			}
			if err != nil {
				return statusError{exitUsage, fmt.Errorf("standard output: %w", err)}
			}
			if !d.Equal {
				return toldError{errDiffer}
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	cmd.Flags().Uint64Var(&limit, "limit", 512<<20, "decompress at most `BYTES` of a layer")
	return cmd
}

// describe reads one image and describes it.
func (a *app) describe(path string, o inspect.Options) (*inspect.Report, error) {
	im, err := peel.Open(path, peel.Options{Logger: a.logger()})
	if err != nil {
		return nil, err
	}
	defer im.Close()
	return inspect.Describe(path, im.Bytes(), o), nil
}
