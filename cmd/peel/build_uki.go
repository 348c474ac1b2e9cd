// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/image"
)

// ukiFlags are the flags of build uki and build addon, named as ukify names
// its options.
type ukiFlags struct {
	outputFlags
	signFlags
	config                                                  string
	linux, osRelease, cmdline, microcode, splash            string
	dtb, hwids, uname, pcrpkey, pcrsig, profile, arch, stub string
	initrds, dtbAuto, efifw, sbat, sections, join           []string
	signKernel, summary                                     bool
	pcr                                                     pcrFlags
}

func (a *app) buildUKICommand() *cobra.Command {
	f := &ukiFlags{}
	cmd := &cobra.Command{
		Use:   "uki --linux KERNEL -o FILE",
		Short: "Make a unified kernel image",
		Long: `Make a unified kernel image. Options and configuration files are those of ukify; TEXT may be @FILE everywhere.

Without --stub it is systemd's, from /usr/lib/systemd/boot/efi; without --uname the kernel tells its release;
without --os-release and --hwids they are this system's (--os-release= and --hwids= leave them out). With --key the image is signed, and the
kernel inside too unless it is signed already (--sign-kernel=true and =false decide otherwise).

--pcr-private-key signs the values that PCR 11 will have and puts the signatures into the image. For a key that is
kept elsewhere, --policy-digest prints what is to be signed; 'peel edit IMAGE --set pcrsig=@FILE' puts the signatures
into the finished image. --measure prints the values. --summary prints the settings as a configuration file and
builds nothing.`,
		Example: `  peel build uki --linux vmlinuz --initrd initrd --cmdline "root=/dev/vda quiet" -o linux.efi
  peel build uki -c uki.conf --key db.key --cert db.pem -o linux.efi`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.buildUKI(cmd, f, false) },
	}
	f.addAll(cmd)
	cmd.Flags().StringVar(&f.linux, "linux", "", "the kernel in `FILE`")
	cmd.Flags().BoolVar(&f.signKernel, "sign-kernel", false, "sign the kernel inside with the same key")
	cmd.Flags().Bool("no-sign-kernel", false, "the same as --sign-kernel=false")
	cmd.Flags().Lookup("no-sign-kernel").Hidden = true
	f.pcr.add(cmd)
	cmd.Flags().StringArrayVar(&f.join, "join-profile", nil, "append the profile in `FILE`, made by build addon --profile (repeatable)")
	return cmd
}

func (a *app) buildAddonCommand() *cobra.Command {
	f := &ukiFlags{}
	cmd := &cobra.Command{
		Use:   "addon -o FILE",
		Short: "Make an addon, or one profile of a unified kernel image",
		Long: `Make an addon for unified kernel images, or with --profile an image of one profile for
'build uki --join-profile'. Options are those of 'build uki'.`,
		Example: "  peel build addon --cmdline debug -o debug.addon.efi",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.buildUKI(cmd, f, true) },
	}
	f.addAll(cmd)
	return cmd
}

func (f *ukiFlags) addAll(cmd *cobra.Command) {
	f.outputFlags.add(cmd)
	f.signFlags.add(cmd, "the image")
	fs := cmd.Flags()
	fs.StringVarP(&f.config, "config", "c", "", "read settings from `FILE`, in ukify's format; options on the command line win")
	fs.StringVar(&f.osRelease, "os-release", "", "the os-release as `TEXT`")
	fs.StringVar(&f.cmdline, "cmdline", "", "the kernel command line as `TEXT`; white space is made one space unless it comes from a file")
	fs.StringArrayVar(&f.initrds, "initrd", nil, "the initrd in `FILE` (repeatable)")
	fs.StringVar(&f.microcode, "microcode", "", "the microcode archive in `FILE`")
	fs.StringVar(&f.splash, "splash", "", "the picture in `FILE`")
	fs.StringVar(&f.dtb, "devicetree", "", "the device tree in `FILE`")
	fs.StringArrayVar(&f.dtbAuto, "devicetree-auto", nil, "a device tree for one machine, in `FILE` (repeatable)")
	fs.StringVar(&f.hwids, "hwids", "", "hardware IDs: the JSON files in `DIR`")
	fs.StringArrayVar(&f.efifw, "efifw", nil, "a firmware image: the one file in `DIR`, whose name is its ID (repeatable)")
	fs.StringVar(&f.uname, "uname", "", "the kernel's release as `TEXT`")
	fs.StringArrayVar(&f.sbat, "sbat", nil, "SBAT lines to add, `TEXT` (repeatable)")
	fs.StringVar(&f.pcrpkey, "pcrpkey", "", "the public key of PCR signatures in `FILE`")
	fs.StringVar(&f.pcrsig, "pcrsig", "", "PCR signatures (JSON) as `TEXT`")
	fs.StringArrayVar(&f.sections, "section", nil, "a further section, `NAME:TEXT` (repeatable)")
	fs.StringVar(&f.profile, "profile", "", "describe this profile: `TEXT` such as ID=debug")
	fs.StringVar(&f.arch, "efi-arch", "", "the architecture as UEFI `NAME`s it: x64, aa64, riscv64 … (default: the stub's)")
	fs.StringVar(&f.stub, "stub", "", "the boot stub in `FILE`")
	fs.BoolVar(&f.summary, "summary", false, "print the settings as a configuration file, and build nothing")
	foreignFlags(cmd)
	// The names that ukify has for --key and --cert.
	fs.StringVar(&f.key, "secureboot-private-key", "", "the same as --key")
	fs.StringVar(&f.cert, "secureboot-certificate", "", "the same as --cert")
}

// buildUKI makes the image.
func (a *app) buildUKI(cmd *cobra.Command, f *ukiFlags, addon bool) error {
	set := cmd.Flags().Changed
	isSet := map[string]bool{}
	for _, n := range []string{"os-release", "hwids", "sign-kernel"} {
		isSet[n] = cmd.Flags().Lookup(n) != nil && set(n)
	}
	if no := cmd.Flags().Lookup("no-sign-kernel"); no != nil && no.Changed {
		isSet["sign-kernel"], f.signKernel = true, no.Value.String() == "false"
	}
	if f.config != "" {
		if err := a.readConfig(cmd, f, isSet); err != nil {
			return err
		}
	}
	if err := checkForeign(cmd); err != nil {
		return err
	}
	if err := f.pcr.check(); err != nil {
		return err
	}
	if !f.summary {
		if err := f.check("build"); err != nil {
			return err
		}
	}
	if !addon && f.linux == "" {
		return usagef("build uki: --linux FILE is missing; an image without a kernel is made by build addon")
	}
	if f.summary {
		if _, err := f.spec(a, isSet, addon); err != nil {
			return err
		}
		return f.printSummary(a.out, isSet)
	}
	sigs, err := f.signatures()
	if err != nil {
		return err
	}
	u, err := f.spec(a, isSet, addon)
	if err != nil {
		return err
	}
	switch {
	case isSet["sign-kernel"] && f.signKernel && len(sigs) == 0:
		return usagef("--sign-kernel needs --key and --cert")
	case len(sigs) > 0 && (!isSet["sign-kernel"] || f.signKernel):
		u.SignKernel, u.KeepKernelSignature = sigs, !isSet["sign-kernel"]
	}
	o, err := f.pcr.options()
	if err != nil {
		return err
	}
	if len(f.pcr.keys) > 0 {
		if err := f.pcr.sign(cmd, u, o); err != nil {
			return err
		}
	}
	report, err := f.pcr.report(cmd, u, o)
	if err != nil {
		return err
	}
	im, err := u.Build(cmd.Context())
	if err != nil {
		return err
	}
	defer im.Close()
	return a.writeReported(cmd, im, f.path, build.FileOptions{Replace: f.force, Sign: sigs}, report)
}

// spec turns flags into a description.
func (f *ukiFlags) spec(a *app, isSet map[string]bool, addon bool) (*build.UKI, error) {
	u := &build.UKI{
		Linux: pathContent(f.linux), Initrds: pathContents(f.initrds), Cmdline: textContent(f.cmdline, true),
		Splash: pathContent(f.splash), DTB: pathContent(f.dtb), DTBAuto: pathContents(f.dtbAuto), Uname: textContent(f.uname, false),
		PCRPKey: pathContent(f.pcrpkey), PCRSig: textContent(f.pcrsig, false), Profile: textContent(f.profile, false),
		JoinProfiles: pathContents(f.join), OSRelease: textContent(f.osRelease, false),
	}
	if f.microcode != "" {
		u.Microcode = []build.Content{build.File(f.microcode)}
	}
	for _, t := range f.sbat {
		u.SBAT = append(u.SBAT, textContent(t, false))
	}
	for _, s := range f.sections {
		n, err := namedContent(s, ":")
		if err != nil {
			return nil, err
		}
		u.Sections = append(u.Sections, n)
	}
	if !addon && !isSet["os-release"] {
		for _, p := range []string{"etc/os-release", "usr/lib/os-release"} {
			if p = filepath.Join(a.root, p); fileExists(p) {
				f.osRelease = "@" + p
				u.OSRelease = build.File(p)
				break
			}
		}
	}
	if err := f.findStub(a, u, addon); err != nil {
		return nil, err
	}
	if !addon && !isSet["hwids"] {
		if p := filepath.Join(a.root, "usr/lib/systemd/boot/hwids", f.efiArch(u)); fileExists(p) {
			f.hwids = p
			fmt.Fprintf(a.err, "peel: hardware IDs from %s\n", oneLine(p))
		}
	}
	if f.hwids != "" {
		list, err := build.ReadHWIDs(f.hwids)
		if err != nil {
			return nil, err
		}
		b, err := build.HWIDs(list)
		if err != nil {
			return nil, err
		}
		u.HWIDs = build.Bytes(b)
	}
	for _, d := range f.efifw {
		b, err := build.ReadFirmware(d)
		if err != nil {
			return nil, err
		}
		u.EFIFW = append(u.EFIFW, build.Bytes(b))
	}
	return u, nil
}

// efiArch is the architecture to build for as UEFI spells it.
func (f *ukiFlags) efiArch(u *build.UKI) string {
	if u.Arch == image.ArchUnknown {
		return image.HostArch().EFIName()
	}
	return u.Arch.EFIName()
}

// findStub sets architecture and stub.
func (f *ukiFlags) findStub(a *app, u *build.UKI, addon bool) error {
	if f.arch != "" {
		var ok bool
		if u.Arch, ok = build.ArchByEFIName(f.arch); !ok {
			return usagef("--efi-arch %q is no architecture of UEFI", f.arch)
		}
	}
	if f.stub == "" {
		arch := u.Arch
		if arch == image.ArchUnknown {
			arch = image.HostArch()
		}
		var err error
		if f.stub, err = build.FindStub(a.root, arch, addon); err != nil {
			return fmt.Errorf("%w; --stub names one", err)
		}
	}
	u.Stub = build.File(f.stub)
	return nil
}

// readConfig fills in what the command line leaves open.
func (a *app) readConfig(cmd *cobra.Command, f *ukiFlags, isSet map[string]bool) error {
	b, err := readLimited(f.config, build.MaxText)
	if err != nil {
		return err
	}
	c, err := build.ParseConfig(b)
	if err != nil {
		return fmt.Errorf("%s: %w", f.config, err)
	}
	for _, u := range c.Unknown {
		fmt.Fprintf(a.err, "peel: %s: unknown setting %s\n", f.config, oneLine(u))
	}
	one := map[string]*string{
		"Linux": &f.linux, "OSRelease": &f.osRelease, "Cmdline": &f.cmdline, "Microcode": &f.microcode, "Splash": &f.splash,
		"DeviceTree": &f.dtb, "HWIDs": &f.hwids, "Uname": &f.uname, "PCRPKey": &f.pcrpkey, "PCRSig": &f.pcrsig, "Profile": &f.profile,
		"EFIArch": &f.arch, "Stub": &f.stub, "PCRBanks": &f.pcr.banks, "SecureBootPrivateKey": &f.key, "SecureBootCertificate": &f.cert,
	}
	many := map[string]*[]string{"Initrd": &f.initrds, "DeviceTreeAuto": &f.dtbAuto, "SBAT": &f.sbat, "EFIFirmware": &f.efifw, "Firmware": &f.efifw, "JoinProfile": &f.join}
	for _, s := range c.UKI {
		switch {
		case one[s.Key] != nil:
			option := map[string]string{"OSRelease": "os-release", "HWIDs": "hwids"}[s.Key]
			if *one[s.Key] == "" && !isSet[option] {
				*one[s.Key] = s.Value
			}
			if option != "" {
				isSet[option] = true
			}
		case many[s.Key] != nil:
			list := []string{s.Value}
			if s.Key != "SBAT" {
				list = strings.Fields(s.Value)
			}
			*many[s.Key] = append(list, *many[s.Key]...)
		case s.Key == "SignKernel":
			if !isSet["sign-kernel"] {
				if f.signKernel, err = build.ParseBool(s.Value); err != nil {
					return fmt.Errorf("%s: SignKernel: %w", f.config, err)
				}
				isSet["sign-kernel"] = true
			}
		default:
			if err := foreignSetting(s); err != nil {
				return fmt.Errorf("%s: %w", f.config, err)
			}
		}
	}
	return f.pcr.fromConfig(f.config, c.PCRSignatures)
}

func fileExists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// pathContent is the contents of a file, nothing for "".
func pathContent(p string) build.Content {
	if p == "" {
		return build.Content{}
	}
	return build.File(p)
}

func pathContents(list []string) (out []build.Content) {
	for _, p := range list {
		out = append(out, build.File(p))
	}
	return out
}

// textContent is TEXT or @FILE, nothing for "". Text, not that of a file, is
// squeezed if asked for.
func textContent(s string, squeeze bool) build.Content {
	if p, ok := strings.CutPrefix(s, "@"); ok {
		return build.File(p)
	}
	if squeeze {
		s = build.CmdlineText(s)
	}
	if s == "" {
		return build.Content{}
	}
	return build.Text(s)
}

// namedContent reads NAME, a separator and TEXT or @FILE.
func namedContent(s, sep string) (build.NamedContent, error) {
	name, text, ok := strings.Cut(s, sep)
	if !ok || name == "" || text == "" {
		return build.NamedContent{}, usagef("section %q, want NAME%sTEXT or NAME%s@FILE", s, sep, sep)
	}
	return build.NamedContent{Name: name, Content: textContent(text, false)}, nil
}
