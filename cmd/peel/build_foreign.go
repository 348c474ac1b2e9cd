// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel/build"
)

// foreign is an option of ukify that peel does not have: it names programs and
// libraries that peel does not call.
type foreign struct {
	flag, setting string
	// instead says what to do; empty where leaving the option out does.
	instead string
	// values that ask for what happens anyway.
	fine []string
}

func foreignOptions() []foreign {
	const (
		noOpenSSL = "peel calls no OpenSSL: --key names the key, in a file, a TPM or a token"
		noNSS     = "peel reads no NSS databases: take the key out with pk12util and name it with --key and --cert"
	)
	return []foreign{
		{"signing-engine", "SigningEngine", noOpenSSL, nil},
		{"signing-provider", "SigningProvider", noOpenSSL, nil},
		{"certificate-provider", "CertificateProvider", noOpenSSL, nil},
		{"signtool", "SecureBootSigningTool", noNSS, []string{"sbsign", "systemd-sbsign"}},
		{"secureboot-certificate-dir", "SecureBootCertificateDir", noNSS, nil},
		{"secureboot-certificate-name", "SecureBootCertificateName", noNSS, nil},
		{"secureboot-certificate-common-name", "SecureBootCertificateCommonName", "", nil},
		{"secureboot-certificate-validity", "SecureBootCertificateValidity", "", nil},
		{"join-pcrsig", "", "put signatures into a finished image with 'peel edit IMAGE --set pcrsig=@FILE'", nil},
		{"policyref", "", "peel signs policies without a reference", nil},
		{"sign-initrd-pcrs", "SignInitrdPCRs", "peel signs for PCR 11 alone", []string{"no", "false", "0", "off", "n", "f"}},
		{"tools", "", "", nil},
	}
}

// foreignFlags adds the options, which the help does not show.
func foreignFlags(cmd *cobra.Command) {
	for _, f := range foreignOptions() {
		cmd.Flags().StringArray(f.flag, nil, "an option of ukify")
		if f.flag == "sign-initrd-pcrs" {
			cmd.Flags().Lookup(f.flag).NoOptDefVal = "yes"
		}
		cmd.Flags().Lookup(f.flag).Hidden = true
	}
}

func (f *foreign) check(name, value string) error {
	if f.instead == "" {
		return nil
	}
	for _, v := range f.fine {
		if strings.EqualFold(v, value) {
			return nil
		}
	}
	return fmt.Errorf("%s: %s", name, f.instead)
}

// checkForeign says what to use instead of an option of ukify.
func checkForeign(cmd *cobra.Command) error {
	for _, f := range foreignOptions() {
		list, err := cmd.Flags().GetStringArray(f.flag)
		if err != nil {
			return err
		}
		for _, v := range list {
			if err := f.check("--"+f.flag, v); err != nil {
				return usageError{err}
			}
		}
	}
	return nil
}

// foreignSetting does so for a setting of a configuration file.
func foreignSetting(s build.Setting) error {
	for _, f := range foreignOptions() {
		if f.setting == s.Key {
			return f.check(s.Key, s.Value)
		}
	}
	return fmt.Errorf("%s cannot be set here", s.Key)
}

// printSummary prints the settings in effect in the format of a configuration
// file.
func (f *ukiFlags) printSummary(w io.Writer, isSet map[string]bool) error {
	var b strings.Builder
	b.WriteString("[UKI]\n")
	one := func(key, value string) {
		if value != "" {
			// A line that begins with white space continues the one before it.
			fmt.Fprintf(&b, "%s=%s\n", key, strings.ReplaceAll(strings.TrimRight(value, "\n"), "\n", "\n "))
		}
	}
	one("Linux", f.linux)
	one("OSRelease", f.osRelease)
	if f.osRelease == "" {
		b.WriteString("OSRelease=\n")
	}
	one("Cmdline", f.cmdline)
	one("Initrd", strings.Join(f.initrds, " "))
	one("Firmware", strings.Join(f.efifw, " "))
	one("Microcode", f.microcode)
	one("Splash", f.splash)
	one("DeviceTree", f.dtb)
	one("DeviceTreeAuto", strings.Join(f.dtbAuto, " "))
	one("HWIDs", f.hwids)
	if f.hwids == "" {
		b.WriteString("HWIDs=\n")
	}
	one("Uname", f.uname)
	one("SBAT", strings.Join(f.sbat, "\n"))
	one("PCRPKey", f.pcrpkey)
	one("PCRSig", f.pcrsig)
	one("Profile", f.profile)
	one("JoinProfile", strings.Join(f.join, " "))
	one("EFIArch", f.arch)
	one("Stub", f.stub)
	one("PCRBanks", f.pcr.banks)
	one("SecureBootPrivateKey", f.key)
	one("SecureBootCertificate", f.cert)
	if isSet["sign-kernel"] {
		one("SignKernel", map[bool]string{true: "yes", false: "no"}[f.signKernel])
	}
	for _, s := range f.sections {
		fmt.Fprintf(&b, "# --section %s\n", oneLine(s))
	}
	for i, k := range f.pcr.keys {
		fmt.Fprintf(&b, "\n[PCRSignature:%d]\n", i+1)
		one("PCRPrivateKey", k)
		if i < len(f.pcr.public) {
			one("PCRPublicKey", f.pcr.public[i])
		}
		if i < len(f.pcr.phases) {
			one("Phases", f.pcr.phases[i])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
