// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/measure/eventlog"
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
	signKernel                                              bool
	pcrKeys, phases                                         []string
	pcrBanks                                                string
}

func (a *app) buildUKICommand() *cobra.Command {
	f := &ukiFlags{}
	cmd := &cobra.Command{
		Use:   "uki --linux KERNEL -o FILE",
		Short: "Make a unified kernel image",
		Long: `Make a unified kernel image. Options and configuration files are those of ukify; TEXT may be @FILE everywhere.

Without --stub it is systemd's, from /usr/lib/systemd/boot/efi; without --uname the kernel tells its release;
without --os-release it is this system's (--os-release= leaves it out). With --key the image is signed, and the
kernel inside too unless it is signed already (--sign-kernel=true and =false decide otherwise).`,
		Example: `  peel build uki --linux vmlinuz --initrd initrd --cmdline "root=/dev/vda quiet" -o linux.efi
  peel build uki -c uki.conf --key db.key --cert db.pem -o linux.efi`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.buildUKI(cmd, f, false) },
	}
	f.addAll(cmd)
	cmd.Flags().StringVar(&f.linux, "linux", "", "the kernel in `FILE`")
	cmd.Flags().BoolVar(&f.signKernel, "sign-kernel", false, "sign the kernel inside with the same key")
	fs := cmd.Flags()
	fs.StringArrayVar(&f.pcrKeys, "pcr-private-key", nil, "sign the values PCR 11 will have with the RSA key in `FILE` (repeatable)")
	fs.StringArrayVar(&f.phases, "phases", nil, "boot phase `PATHS` for the --pcr-private-key at the same place, separated by spaces (repeatable)")
	fs.StringVar(&f.pcrBanks, "pcr-banks", "", "`BANKS` of PCR 11 to sign for, separated by commas (default: all)")
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
	// The names that ukify has for --key and --cert.
	fs.StringVar(&f.key, "secureboot-private-key", "", "the same as --key")
	fs.StringVar(&f.cert, "secureboot-certificate", "", "the same as --cert")
}

// buildUKI makes the image.
func (a *app) buildUKI(cmd *cobra.Command, f *ukiFlags, addon bool) error {
	set := cmd.Flags().Changed
	isSet := map[string]bool{}
	for _, n := range []string{"os-release", "sign-kernel"} {
		isSet[n] = cmd.Flags().Lookup(n) != nil && set(n)
	}
	if f.config != "" {
		if err := a.readConfig(cmd, f, isSet); err != nil {
			return err
		}
	}
	if err := f.check("build"); err != nil {
		return err
	}
	if !addon && f.linux == "" {
		return usagef("build uki: --linux FILE is missing; an image without a kernel is made by build addon")
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
	if len(f.pcrKeys) > 0 {
		if err := f.signPCRs(cmd, u); err != nil {
			return err
		}
	}
	im, err := u.Build(cmd.Context())
	if err != nil {
		return err
	}
	defer im.Close()
	return a.writeImage(cmd, im, f.path, build.FileOptions{Replace: f.force, Sign: sigs})
}

// signPCRs makes the section .pcrsig.
func (f *ukiFlags) signPCRs(cmd *cobra.Command, u *build.UKI) error {
	if len(f.phases) > len(f.pcrKeys) {
		return usagef("--phases belongs to the --pcr-private-key at the same place")
	}
	var keys []build.PCRKey
	for i, p := range f.pcrKeys {
		b, err := readLimited(p, sign.MaxKeyFile)
		if err != nil {
			return err
		}
		s, err := sign.ParseKey(b)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		k := build.PCRKey{Signer: s}
		if i < len(f.phases) {
			k.Phases = strings.Fields(f.phases[i])
		}
		keys = append(keys, k)
	}
	var banks []eventlog.Hash
	for _, s := range strings.FieldsFunc(f.pcrBanks, func(r rune) bool { return r == ',' || r == ' ' }) {
		h, err := eventlog.ParseHash(s)
		if err != nil {
			return usagef("--pcr-banks: %w", err)
		}
		banks = append(banks, h)
	}
	return u.SignPCRs(cmd.Context(), keys, banks)
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
				u.OSRelease = build.File(p)
				break
			}
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
	return u, f.findStub(a, u, addon)
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
		"EFIArch": &f.arch, "Stub": &f.stub, "PCRBanks": &f.pcrBanks, "SecureBootPrivateKey": &f.key, "SecureBootCertificate": &f.cert,
	}
	many := map[string]*[]string{"Initrd": &f.initrds, "DeviceTreeAuto": &f.dtbAuto, "SBAT": &f.sbat, "EFIFirmware": &f.efifw, "Firmware": &f.efifw, "JoinProfile": &f.join}
	for _, s := range c.UKI {
		switch {
		case one[s.Key] != nil:
			if *one[s.Key] == "" && !(s.Key == "OSRelease" && isSet["os-release"]) {
				*one[s.Key] = s.Value
			}
			if s.Key == "OSRelease" {
				isSet["os-release"] = true
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
		case s.Key == "SecureBootSigningTool" || s.Key == "SecureBootCertificateValidity":
			// They choose between other programs, or are for other verbs.
		default:
			return fmt.Errorf("%s: %s is not supported: peel signs with keys in files", f.config, s.Key)
		}
	}
	if len(f.pcrKeys) > 0 {
		return nil
	}
	for _, p := range c.PCRSignatures {
		var key, phases string
		for _, s := range p.Settings {
			switch s.Key {
			case "PCRPrivateKey":
				key = s.Value
			case "Phases":
				phases = s.Value
			}
		}
		if key == "" {
			return fmt.Errorf("%s: [PCRSignature:%s] has no PCRPrivateKey", f.config, p.Name)
		}
		f.pcrKeys, f.phases = append(f.pcrKeys, key), append(f.phases, phases)
	}
	return nil
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
