// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"time"

	"github.com/peelboot/peel/image"
)

// Schema names the form of the JSON that a Report marshals to. The number
// grows when a field changes its meaning or goes away; new fields do not
// change it.
const Schema = "peel.inspect/1"

// Report is the description of one file.
type Report struct {
	Schema string `json:"schema"`
	// Path is the file as the caller named it.
	Path  string `json:"path"`
	Layer *Layer `json:"layer"`
}

// Layer describes one layer of an image. Sizes and offsets are in bytes;
// digests are in lower-case hexadecimal.
type Layer struct {
	// Name is what the layer is called in the one around it: a section
	// name, "payload", or the file's base name.
	Name string     `json:"name"`
	Kind image.Kind `json:"kind"`
	Arch image.Arch `json:"arch,omitempty"`
	// Offset of the layer in the one around it. Absent when the layer comes
	// out of a decompressor.
	Offset *uint64 `json:"offset,omitempty"`
	Size   uint64  `json:"size"`
	SHA256 string  `json:"sha256"`
	// SHA384 and SHA512 are there when Options.Digests asks for them.
	SHA384 string `json:"sha384,omitempty"`
	SHA512 string `json:"sha512,omitempty"`
	// Method is the compression that stands between this layer and the one
	// around it.
	Method string `json:"method,omitempty"`

	PE         *PE         `json:"pe,omitempty"`
	Stub       *Stub       `json:"stub,omitempty"`
	Thin       *Thin       `json:"thin,omitempty"`
	Kernel     *Kernel     `json:"kernel,omitempty"`
	Zboot      *Zboot      `json:"zboot,omitempty"`
	Signatures []Signature `json:"signatures,omitempty"`
	Sections   []Section   `json:"sections,omitempty"`
	// Profiles lists the profiles of a UKI that has any, the base first.
	Profiles []Profile `json:"profiles,omitempty"`
	// Layers are the layers inside that are images themselves.
	Layers []*Layer `json:"layers,omitempty"`
	// Problem says why the layer could not be read to its end.
	Problem string `json:"problem,omitempty"`
}

// PE describes the headers of a PE image.
type PE struct {
	Machine   string `json:"machine"`
	Plus      bool   `json:"pe32_plus"`
	Subsystem uint16 `json:"subsystem"`
	// Authenticode holds the Authenticode digests by the name of the hash.
	Authenticode map[string]string `json:"authenticode,omitempty"`
	EntryPoint   uint32            `json:"entry_point"`
	SizeOfImage  uint32            `json:"size_of_image"`
	NXCompat     bool              `json:"nx_compat"`
	CertTable    uint64            `json:"certificate_table_size"`
}

// Section describes one section of a PE or ELF image.
type Section struct {
	Name   string `json:"name"`
	Offset uint64 `json:"offset"`
	// Size is that of the contents; VirtualSize what the header says.
	Size        uint64 `json:"size"`
	VirtualSize uint64 `json:"virtual_size"`
	SHA256      string `json:"sha256"`
	SHA384      string `json:"sha384,omitempty"`
	SHA512      string `json:"sha512,omitempty"`
	// PCR is the register that systemd's stub extends with the section, -1
	// for none.
	PCR int `json:"pcr"`
	// Profile is the number of the profile that the section belongs to, 0
	// for the base.
	Profile int `json:"profile"`
	// Text is the contents of a section that holds text.
	Text string `json:"text,omitempty"`
	// Compatible is what the device tree in the section says it is for, or
	// "overlay" when it says nothing.
	Compatible string `json:"compatible,omitempty"`
	// HWIDs are the entries of a .hwids section.
	HWIDs []HWID `json:"hwids,omitempty"`
	// Known tells whether the UKI specification names the section.
	Known bool `json:"known"`
}

// Stub describes the program in front of the sections of a UKI.
type Stub struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// Thin describes an image that names files instead of holding them.
type Thin struct {
	Kernel  ThinFile  `json:"kernel"`
	Initrd  *ThinFile `json:"initrd,omitempty"`
	Cmdline string    `json:"cmdline"`
}

// ThinFile is a file by path below the root of the image's volume and digest.
type ThinFile struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// HWID binds a computer hardware id to a device tree or firmware.
type HWID struct {
	Type       string `json:"type"` // "devicetree" or "firmware"
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"`
	Compatible string `json:"compatible"`
}

// Profile names one profile of a UKI.
type Profile struct {
	Number int    `json:"number"`
	ID     string `json:"id,omitempty"`
	Title  string `json:"title,omitempty"`
}

// Kernel describes a kernel's own header.
type Kernel struct {
	Version string `json:"version,omitempty"`
	Release string `json:"release,omitempty"`
	// Protocol is the boot protocol: "2.15" for a bzImage, "image" or "elf".
	Protocol string `json:"protocol"`
	// Method is how a bzImage compresses its payload.
	Method           string   `json:"method,omitempty"`
	UncompressedSize uint64   `json:"uncompressed_size,omitempty"`
	MemorySize       uint64   `json:"memory_size,omitempty"`
	CmdlineSize      uint64   `json:"cmdline_size,omitempty"`
	Entry            uint64   `json:"entry,omitempty"`
	Flags            []string `json:"flags,omitempty"`
}

// Zboot describes the header of an EFI zboot image.
type Zboot struct {
	Method           string `json:"method"`
	PayloadOffset    uint64 `json:"payload_offset"`
	PayloadSize      uint64 `json:"payload_size"`
	UncompressedSize uint64 `json:"uncompressed_size,omitempty"`
}

// Signature describes one signature. That it is described does not mean that
// it is good: see the verify verb.
type Signature struct {
	Kind      string     `json:"kind"`
	Offset    uint64     `json:"offset"`
	Size      uint64     `json:"size"`
	Digest    string     `json:"digest,omitempty"`
	Algorithm string     `json:"algorithm,omitempty"`
	Signer    string     `json:"signer,omitempty"`
	Issuer    string     `json:"issuer,omitempty"`
	Serial    string     `json:"serial,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	Problem   string     `json:"problem,omitempty"`
}
