// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/parser"
)

// outputFlags are the flags of verbs that make one file.
type outputFlags struct {
	path  string
	force bool
}

func (f *outputFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.path, "output", "o", "", "write the image to `FILE`, whole or not at all")
	cmd.Flags().BoolVarP(&f.force, "force", "f", false, "replace a file that exists")
}

func (f *outputFlags) check(verb string) error {
	if f.path == "" {
		return usagef("%s: -o FILE is missing", verb)
	}
	return nil
}

func (a *app) buildCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Make a unified kernel image, addon, zboot image, envelope or parser container",
		Long: `Make an image out of its parts, for any architecture, on any machine. The same parts give the same bytes.
Files appear whole or not at all.`,
		GroupID: "make",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, sub := range []*cobra.Command{a.buildUKICommand(), a.buildAddonCommand(), a.buildZbootCommand(), a.buildEnvelopeCommand(), a.buildParserCommand()} {
		sub.Args = usageArgs(sub.Args)
		a.jsonFlag(sub)
		cmd.AddCommand(sub)
	}
	return cmd
}

func (a *app) buildZbootCommand() *cobra.Command {
	var out outputFlags
	var sf signFlags
	var z struct{ from, method, parser string }
	var signKernel bool
	cmd := &cobra.Command{
		Use:   "zboot KERNEL -o FILE",
		Short: "Compress an arm64, riscv64 or loongarch64 Image into a vmlinuz.efi",
		Long: `Compress a kernel Image into an EFI zboot image.

With --from the decompressor is that of another zboot image; the kernel must compress to no more than the one
there, since the place of the payload is fixed. Without it the image is headers and a payload: kexec takes that,
firmware does not. --parser adds a parser program in a section .bpf, as the kernel series' image builder does;
with --parser and a KERNEL that is a zboot image already, nothing else changes.`,
		Example: "  peel build zboot Image --from vmlinuz.efi -o new.efi --key db.key --cert db.pem",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check("build zboot"); err != nil {
				return err
			}
			sigs, err := sf.signatures()
			if err != nil {
				return err
			}
			o := build.FileOptions{Replace: out.force, Sign: sigs}
			if z.parser != "" {
				if z.from != "" || z.method != "" || signKernel {
					return usagef("--parser goes with a finished image: build it first")
				}
				p := build.Parser{Image: build.File(args[0]), Program: build.File(z.parser)}
				im, err := p.Build(cmd.Context())
				if err != nil {
					return err
				}
				defer im.Close()
				return a.writeImage(cmd, im, out.path, o)
			}
			b := build.Zboot{Kernel: build.File(args[0]), Method: z.method}
			if z.from != "" {
				b.From = build.File(z.from)
			}
			if signKernel {
				if len(sigs) == 0 {
					return usagef("--sign-kernel needs --key and --cert")
				}
				b.SignKernel = sigs
			}
			im, err := b.Build(cmd.Context())
			if err != nil {
				return err
			}
			defer im.Close()
			return a.writeImage(cmd, im, out.path, o)
		},
	}
	out.add(cmd)
	sf.add(cmd, "the image")
	cmd.Flags().StringVar(&z.from, "from", "", "take the decompressor from the zboot image in `FILE`")
	cmd.Flags().StringVar(&z.method, "method", "", "compress with `METHOD`: gzip or zstd (default: what the decompressor knows)")
	cmd.Flags().StringVar(&z.parser, "parser", "", "add the parser program in `FILE` to the image KERNEL")
	cmd.Flags().BoolVar(&signKernel, "sign-kernel", false, "sign the kernel inside with the same key")
	return cmd
}

func (a *app) buildEnvelopeCommand() *cobra.Command {
	var out outputFlags
	var kernel, initrd, cmdline, uki string
	var addons, images, imas []string
	cmd := &cobra.Command{
		Use:   "envelope -o FILE",
		Short: "Pack the data that a parser program takes: kernel, initrd, command line",
		Long: `Make an ELF envelope for parser programs, in one of three forms: --kernel with --initrd and --cmdline; --uki
with --addon; or --image with --ima. The kernel's bytes go in unchanged: its own signature stays valid. Nothing
else in an envelope is covered by a signature, unless 'peel sign --format appended' signs the whole file.`,
		Example: "  peel build envelope --kernel vmlinuz.efi --initrd initrd --cmdline quiet -o boot.env",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check("build envelope"); err != nil {
				return err
			}
			if len(imas) > len(images) {
				return usagef("--ima belongs to the --image before it")
			}
			e := build.Envelope{Kernel: pathContent(kernel), Initrd: pathContent(initrd), Cmdline: textContent(cmdline, true),
				UKI: pathContent(uki), Addons: pathContents(addons)}
			for i, p := range images {
				s := build.SignedContent{Content: build.File(p)}
				if i < len(imas) {
					s.IMA = pathContent(imas[i])
				}
				e.Images = append(e.Images, s)
			}
			im, err := e.Build(cmd.Context())
			if err != nil {
				return err
			}
			defer im.Close()
			return a.writeImage(cmd, im, out.path, build.FileOptions{Replace: out.force})
		},
	}
	out.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&kernel, "kernel", "", "the kernel image in `FILE`")
	fs.StringVar(&initrd, "initrd", "", "the initrd in `FILE`")
	fs.StringVar(&cmdline, "cmdline", "", "the command line, `TEXT` or @FILE")
	fs.StringVar(&uki, "uki", "", "the UKI in `FILE`")
	fs.StringArrayVar(&addons, "addon", nil, "an addon in `FILE` (repeatable)")
	fs.StringArrayVar(&images, "image", nil, "a PE image in `FILE` (repeatable)")
	fs.StringArrayVar(&imas, "ima", nil, "the IMA signature in `FILE` of the image at the same place (repeatable)")
	return cmd
}

func (a *app) buildParserCommand() *cobra.Command {
	var out outputFlags
	var sf signFlags
	var nested string
	cmd := &cobra.Command{
		Use:   "parser OBJECT... -o FILE",
		Short: "Pack BPF objects into a container of parser programs",
		Long: `Pack one to eight BPF objects, tried in the order given, into a container. With --key the container gets an
appended signature, which 'peel load --parser' checks.`,
		Example: "  peel build parser zboot.o -o zboot.bpf --key db.key --cert db.pem",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := out.check("build parser"); err != nil {
				return err
			}
			const limit = 16 << 20
			var objects [][]byte
			for _, p := range args {
				b, err := readLimited(p, limit)
				if err != nil {
					return err
				}
				if _, err := parser.Inspect(b); err != nil {
					return err
				}
				objects = append(objects, b)
			}
			var inner []byte
			if nested != "" {
				var err error
				if inner, err = readLimited(nested, limit); err != nil {
					return err
				}
			}
			b, err := parser.BuildContainer(objects, inner)
			if err != nil {
				return err
			}
			s, ok, err := sf.signature()
			if err != nil {
				return err
			}
			if ok {
				o := sign.AppendedOptions(s.Options.Hash)
				if b, err = sign.Appended(b, s.Key, o); err != nil {
					return err
				}
			}
			if err := build.WriteFile(out.path, b, 0o644, out.force); err != nil {
				return err
			}
			return a.tellWritten(out.path)
		},
	}
	out.add(cmd)
	sf.add(cmd, "the container")
	cmd.Flags().StringVar(&nested, "nested", "", "programs for the layer inside: the container in `FILE`, signed on its own")
	return cmd
}
