// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/inflate"
	"github.com/peelboot/peel/internal/sealed"
)

// Options bound what Describe does. Zero fields mean the defaults.
type Options struct {
	// Depth is how many layers are described below the outermost one;
	// 5 if zero.
	Depth int
	// Limit is the largest output of one decompression in bytes; 512 MiB
	// if zero. A layer that is larger is described as a Problem.
	Limit uint64
	// Digests adds SHA-384 and SHA-512 to SHA-256 everywhere.
	Digests bool
}

const (
	defaultDepth = 5
	defaultLimit = 512 << 20
)

// Describe describes the image b, called path. It always returns a report:
// what cannot be read is said in the Problem of its layer, or in that of a
// layer around it.
func Describe(path string, b []byte, o Options) *Report {
	if o.Depth <= 0 {
		o.Depth = defaultDepth
	}
	if o.Limit == 0 {
		o.Limit = defaultLimit
	}
	d := describer{o}
	name := filepath.Base(path)
	if path == "" || path == "-" {
		name = "image"
	}
	return &Report{Schema: Schema, Path: path, Layer: d.layer(name, b, 0)}
}

type describer struct{ Options }

// layer describes b, which lies depth layers deep.
func (d describer) layer(name string, b []byte, depth int) *Layer {
	in := image.Detect(b)
	l := &Layer{Name: name, Kind: in.Kind, Arch: in.Arch, Size: uint64(len(b)), SHA256: sum(b)}
	if d.Digests {
		l.SHA384, l.SHA512 = sums(b)
	}
	if in.Err != nil {
		l.Problem = in.Err.Error()
	}
	if in.PE != nil {
		d.pe(l, in.PE)
	} else {
		l.Signatures = appendedSignature(b)
	}
	switch in.Kind {
	case image.KindUKI, image.KindAddon:
		d.uki(l, in.PE, depth)
	case image.KindThin:
		d.thin(l, in.PE)
	case image.KindZboot:
		d.zboot(l, b, depth)
	case image.KindBzImage:
		d.bzImage(l, b)
	case image.KindImage:
		d.image(l, b)
	case image.KindVmlinux:
		d.vmlinux(l, b)
	case image.KindContainer, image.KindEnvelope:
		d.elf(l, b, depth)
	case image.KindCompress:
		d.compressed(l, in.Method, b, depth)
	}
	return l
}

// inside adds the layer b to l if it is an image of its own.
func (d describer) inside(l *Layer, name string, offset *uint64, method string, b []byte, depth int) {
	if image.Detect(b).Kind == image.KindUnknown {
		return
	}
	if depth >= d.Depth {
		l.problem(fmt.Errorf("more than %d layers", d.Depth))
		return
	}
	in := d.layer(name, b, depth+1)
	in.Offset, in.Method = offset, method
	l.Layers = append(l.Layers, in)
}

// problem adds a reason to l.
func (l *Layer) problem(err error) {
	if l.Problem != "" {
		l.Problem += "; "
	}
	l.Problem += err.Error()
}

func (d describer) pe(l *Layer, f *pe.File) {
	l.PE = &PE{
		Machine:     fmt.Sprintf("0x%04x", f.Machine),
		Plus:        f.Plus,
		Subsystem:   f.Subsystem,
		EntryPoint:  f.EntryPoint,
		SizeOfImage: f.SizeOfImage,
		NXCompat:    f.DllCharacteristics&pe.DllNXCompat != 0,
		CertTable:   f.CertTable.Size,
	}
	hashes := map[string]crypto.Hash{"sha256": crypto.SHA256}
	if d.Digests {
		hashes["sha384"], hashes["sha512"] = crypto.SHA384, crypto.SHA512
	}
	for name, h := range hashes {
		digest, err := f.Digest(h)
		if err != nil {
			l.problem(err)
			break
		}
		if l.PE.Authenticode == nil {
			l.PE.Authenticode = map[string]string{}
		}
		l.PE.Authenticode[name] = hex.EncodeToString(digest)
	}
	l.Signatures = embeddedSignatures(f)
	if l.Kind == image.KindPE {
		for _, s := range f.Sections {
			l.Sections = append(l.Sections, d.peSection(f, s))
		}
	}
}

func (d describer) peSection(f *pe.File, s pe.Section) Section {
	data := f.Data(s)
	out := Section{
		Name:        s.Name,
		Offset:      uint64(s.PointerToRawData),
		Size:        uint64(len(data)),
		VirtualSize: uint64(s.VirtualSize),
		SHA256:      sum(data),
		PCR:         -1,
	}
	if d.Digests {
		out.SHA384, out.SHA512 = sums(data)
	}
	return out
}

func (d describer) zboot(l *Layer, b []byte, depth int) {
	z, err := zboot.Parse(b)
	if err != nil {
		return // Detect said so
	}
	l.Zboot = &Zboot{
		Method:        z.Method,
		PayloadOffset: uint64(z.PayloadOffset),
		PayloadSize:   uint64(z.PayloadSize),
	}
	if n, ok := z.UncompressedSize(); ok {
		l.Zboot.UncompressedSize = uint64(n)
	}
	d.inflate(l, "payload", z.Payload(), depth)
}

func (d describer) compressed(l *Layer, method string, b []byte, depth int) {
	l.Method = method
	d.inflate(l, "contents", b, depth)
}

// inflate describes what comes out of src.
func (d describer) inflate(l *Layer, name string, src []byte, depth int) {
	method := inflate.Detect(src)
	buf, err := sealed.NewBuffer(name, int64(d.Limit))
	if err != nil {
		l.problem(err)
		return
	}
	defer buf.Close()
	res, err := inflate.Decompress(method, buf.Bytes(), src)
	if err != nil {
		l.problem(fmt.Errorf("%s: %w", name, err))
		return
	}
	out := buf.Bytes()[:res.Written]
	if image.Detect(out).Kind == image.KindUnknown {
		// Say what it is anyway: a reader wants to know the digest.
		l.Layers = append(l.Layers, &Layer{Name: name, Kind: image.KindUnknown, Size: uint64(len(out)), SHA256: sum(out), Method: method.String()})
		if d.Digests {
			in := l.Layers[len(l.Layers)-1]
			in.SHA384, in.SHA512 = sums(out)
		}
		return
	}
	d.inside(l, name, nil, method.String(), out, depth)
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// sums returns the longer digests.
func sums(b []byte) (sha384, sha512text string) {
	s, l := sha512.Sum384(b), sha512.Sum512(b)
	return hex.EncodeToString(s[:]), hex.EncodeToString(l[:])
}

// errNoText is used where a section should hold text and does not.
var errNoText = errors.New("not text")
