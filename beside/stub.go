// SPDX-License-Identifier: Apache-2.0

package beside

import (
	"bytes"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/uki"
)

// Stub is what the program in front of an image takes from beside it and
// passes on.
type Stub struct {
	// Addons, and Files that are packed, and whether that holds for those of
	// all images as well.
	Addons, Files bool
	// SMBIOS says that words for the command line are taken from the OEM
	// strings of SMBIOS, outside of confidential virtual machines.
	SMBIOS bool

	// names says whether the stub's own code names a file.
	names func(string) bool
}

// StubOf says what the stub of an image does. lanzaboote's takes files only,
// stubble nothing, and kernels without a stub in front nothing either. What
// systemd's does came over the years; a name that is nowhere in its code is
// one that it does not look for. A UKI that does not tell its stub counts as
// one of today's.
func StubOf(in image.Info) Stub {
	all := func(string) bool { return true }
	switch in.Kind {
	case image.KindThin:
		// It takes credentials and system extensions (lanzaboote 0.4,
		// linux-bootloader/src/companions.rs).
		return Stub{Files: true, names: func(s string) bool { return s == ".cred" || s == globalCredentials || s == ".raw" }}
	case image.KindUKI:
		switch uki.StubOf(in.PE).Name {
		case uki.StubStubble:
		case uki.StubSystemd:
			code := stubCode(in)
			names := func(s string) bool { return bytes.Contains(code, utf16le(s)) }
			return Stub{Addons: names(".addon.efi"), Files: true, SMBIOS: bytes.Contains(code, []byte(cmdlineExtra)), names: names}
		default:
			return Stub{Addons: true, Files: true, SMBIOS: true, names: all}
		}
	}
	return Stub{names: func(string) bool { return false }}
}

// cmdlineExtra is the name of the OEM string, which the stub holds as ASCII.
const cmdlineExtra = "io.systemd.stub.kernel-cmdline-extra"

// Directories below the root of the volume, as the stub spells them.
const (
	globalAddons      = `\loader\addons`
	globalCredentials = `\loader\credentials`
	globalExtensions  = `\loader\extensions`
)

// maxStub bounds the sections that are searched for names, in bytes.
const maxStub = 4 << 20

// stubCode is what an image holds before its first section of a UKI.
func stubCode(in image.Info) []byte {
	var code []byte
	for _, s := range in.PE.Sections {
		if _, ok := uki.RuleFor(s.Name); ok {
			continue
		}
		data := in.PE.Data(s)
		code = append(code, data[:min(len(data), maxStub-len(code))]...)
	}
	return code
}

// utf16le is ASCII text as EFI programs hold it, its end included.
func utf16le(s string) []byte {
	b := make([]byte, 0, 2*len(s)+2)
	for i := range len(s) {
		b = append(b, s[i], 0)
	}
	return append(b, 0, 0)
}

// Embedded packs what the stub of an image passes on of the image itself, in
// the stub's order: signatures of PCR values and their key, os-release and
// profile. extra are the parts of the image that do not boot. It fails with
// ErrPack.
func Embedded(in image.Info, extra []image.Part) ([]image.Part, error) {
	if in.Kind != image.KindUKI || uki.StubOf(in.PE).Name != uki.StubSystemd {
		return nil, nil
	}
	stub := StubOf(in)
	var list []image.Part
	for _, row := range [4][2]string{
		{uki.PCRSig, "tpm2-pcr-signature.json"},
		{uki.PCRPKey, "tpm2-pcr-public-key.pem"},
		{uki.OSRel, "os-release"},
		{uki.ProfileS, "profile"},
	} {
		section, file := row[0], row[1]
		for _, p := range extra {
			if p.Name != section || len(p.Data) == 0 || !stub.names(file) {
				continue
			}
			b, err := Meta().Pack(Member{file, p.Data})
			if err != nil {
				return nil, err
			}
			list = append(list, image.Part{Name: Meta().Target + "/" + file, Data: b, Origin: p.Origin})
		}
	}
	return list, nil
}
