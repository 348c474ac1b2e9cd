// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"strings"
)

// Config is a configuration file in the format of ukify: sections of KEY =
// VALUE lines.
type Config struct {
	// UKI are the settings of section [UKI] in order.
	UKI []Setting
	// PCRSignatures are the sections [PCRSignature:NAME] in order.
	PCRSignatures []PCRSignature
	// Unknown names what was not recognised, as "[SECTION] KEY".
	Unknown []string
}

// Setting is one line of a configuration file.
type Setting struct{ Key, Value string }

// PCRSignature is a section that describes a key for PCR signatures.
type PCRSignature struct {
	Name     string
	Settings []Setting
}

// ConfigKeys returns the keys of section [UKI] (ukify(1), "CONFIGURATION
// SETTINGS"), those of newer versions included.
func ConfigKeys() []string {
	return strings.Fields(`Linux OSRelease Cmdline Initrd EFIFirmware Firmware Microcode Splash DeviceTree DeviceTreeAuto HWIDs Uname
		SBAT PCRPKey PCRSig Profile JoinProfile EFIArch Stub PCRBanks SigningEngine SigningProvider CertificateProvider
		SecureBootSigningTool SecureBootPrivateKey SecureBootCertificate SecureBootCertificateDir
		SecureBootCertificateName SecureBootCertificateCommonName SecureBootCertificateValidity SignKernel SignInitrdPCRs`)
}

// ParseConfig reads a configuration file. A comment begins with "#" at the
// start of a line or after white space; a line that begins with white space
// continues the value before it; a key that is repeated replaces the earlier
// one. It fails with ErrConfig and the number of the line.
func ParseConfig(b []byte) (*Config, error) {
	if len(b) > MaxText {
		return nil, fmt.Errorf("%w: 0x%x bytes, at most 0x%x", ErrConfig, len(b), MaxText)
	}
	c := &Config{}
	known := map[string]bool{}
	for _, k := range ConfigKeys() {
		known[k] = true
	}
	pcrKnown := map[string]bool{"PCRPrivateKey": true, "PCRPublicKey": true, "PCRCertificate": true, "Phases": true, "PolicyRef": true}
	section := ""
	var list *[]Setting // of the current section
	var last *Setting
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimRight(stripComment(line), " \t\r")
		text := strings.TrimLeft(line, " \t")
		switch {
		case text == "":
			last = nil
			continue
		case text != line && last != nil:
			last.Value = strings.TrimLeft(last.Value+"\n"+text, "\n")
			continue
		case text[0] == '[':
			end := strings.IndexByte(text, ']')
			if end < 0 || end != len(text)-1 {
				return nil, fmt.Errorf("%w: line %d: %q", ErrConfig, i+1, text)
			}
			section, last, list = text[1:end], nil, nil
			group, ok := strings.CutPrefix(section, "PCRSignature:")
			switch {
			case section == "UKI":
				list = &c.UKI
			case ok && group != "" && !strings.Contains(group, ":"):
				c.PCRSignatures = append(c.PCRSignatures, PCRSignature{Name: group})
				list = &c.PCRSignatures[len(c.PCRSignatures)-1].Settings
			case ok:
				return nil, fmt.Errorf("%w: line %d: section name %q", ErrConfig, i+1, section)
			}
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" || section == "" {
			return nil, fmt.Errorf("%w: line %d: %q", ErrConfig, i+1, text)
		}
		if list == nil || section == "UKI" && !known[key] || section != "UKI" && !pcrKnown[key] {
			c.Unknown = append(c.Unknown, fmt.Sprintf("[%s] %s", section, key))
			// Lines that continue it go nowhere.
			last = &Setting{}
			continue
		}
		last = nil
		for j := range *list {
			if (*list)[j].Key == key {
				last = &(*list)[j]
				last.Value = value
			}
		}
		if last == nil {
			*list = append(*list, Setting{key, value})
			last = &(*list)[len(*list)-1]
		}
	}
	return c, nil
}

// stripComment removes a comment.
func stripComment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

// ParseBool reads a boolean the way ukify does.
func ParseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "true", "yes", "y", "t", "on":
		return true, nil
	case "0", "false", "no", "n", "f", "off":
		return false, nil
	}
	return false, fmt.Errorf("%w: %q is neither yes nor no", ErrConfig, s)
}
