// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/peelboot/peel/build/internal/deflate"
	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/inflate"
)

// Zboot describes an EFI zboot image, vmlinuz.efi: a kernel Image of arm64,
// riscv64 or loongarch64, compressed.
type Zboot struct {
	// Kernel is the Image, possibly compressed as a whole. When that was done
	// with Method, the Image has its full size and SignKernel is empty, its
	// stream goes in as it is: a compressor that takes more time than ours
	// makes kernels fit that otherwise do not.
	Kernel Content
	// From is a zboot image whose decompressor is taken. It fits kernels of
	// the same architecture that compress to no more than its own payload,
	// because the linker fixed where the payload ends. Not set makes an
	// image of headers and payload, which kexec takes and firmware does not.
	From Content
	// Method is "gzip" or "zstd"; empty takes that of From, else gzip. A
	// decompressor knows one method only.
	Method string
	// SignKernel are signatures to put on the Image before it is compressed.
	SignKernel []Signature
}

// Build lays the image out. The Image must be closed.
func (z *Zboot) Build(ctx context.Context) (*Image, error) {
	return makeImage(ctx, modeProgram, z.build)
}

func (z *Zboot) build(ctx context.Context, im *Image) error {
	raw, err := im.in.required("kernel", z.Kernel, MaxFile)
	if err != nil {
		return err
	}
	k, err := openKernel(raw, z.Kernel.String(), z.SignKernel, false)
	if err != nil {
		return err
	}
	im.in.closers = append(im.in.closers, k.close)
	im.Notes = append(im.Notes, k.notes...)
	if k.info.Kind != image.KindImage {
		return fmt.Errorf("%w: kernel %s is a %s, want an Image of arm64, riscv64 or loongarch64", ErrPart, z.Kernel, k.info.Kind)
	}
	pad, err := bssPadding(k)
	if err != nil {
		return fmt.Errorf("%w: kernel %s: %w", ErrPart, z.Kernel, err)
	}
	var from []byte
	method := "gzip"
	if z.From.IsSet() {
		if from, err = im.in.bytes(z.From, MaxFile); err != nil {
			return err
		}
		old, err := zboot.Parse(from)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrStub, z.From, err)
		}
		method = old.Method
	}
	if m := z.Method; m != "" && m != method && !(m == "zstd" && strings.HasPrefix(method, "zstd")) {
		if z.From.IsSet() {
			return fmt.Errorf("%w: the decompressor of %s knows %s, not %s", ErrPart, z.From, method, m)
		}
		method = m
	}
	var payload []byte
	var size uint32
	if asIs := k.info.Kind == image.KindImage && pad == 0 && len(z.SignKernel) == 0 && compressedBy(raw, method); asIs {
		payload, size = bytes.Clone(raw), uint32(len(k.data[0]))
		im.Notes = append(im.Notes, "the kernel's own compressed stream becomes the payload")
	} else if payload, size, err = compress(ctx, method, k.data, pad); err != nil {
		return err
	} else if err = unpacks(payload, k.data, pad); err != nil {
		return fmt.Errorf("%s: %w", z.Kernel, err)
	}
	im.check = checkPE
	if from == nil {
		l, err := headerOnly(method, k.info.PE.Machine, payload, size)
		if err != nil {
			return fmt.Errorf("%s: %w", z.Kernel, err)
		}
		im.setLayout(l)
		return nil
	}
	c, err := transplant(from, k.info.PE.Machine, payload, size)
	if err != nil {
		return fmt.Errorf("%s: %w", z.Kernel, err)
	}
	im.setChunks(c)
	return nil
}

// compressedBy reports whether b is a stream of that method.
func compressedBy(b []byte, method string) bool {
	switch inflate.Detect(b) {
	case inflate.Gzip:
		return method == "gzip"
	case inflate.Zstd:
		return strings.HasPrefix(method, "zstd")
	}
	return false
}

// bssPadding returns how many zeros stand for the kernel's BSS: vmlinux.bin is
// padded to image_size. A signed kernel ends with its certificate table, which
// readers find by the header.
func bssPadding(k *kernel) (uint64, error) {
	head := k.data[0]
	if len(k.data) > 1 {
		head = bytes.Join([][]byte{k.data[0], k.data[1][:min(len(k.data[1]), 4096)]}, nil)
	}
	if len(head) < 64 {
		return 0, linux.ErrTruncated
	}
	want := binary.LittleEndian.Uint64(head[16:])
	var have uint64
	for _, b := range k.data {
		have += uint64(len(b))
	}
	if want > maxKernel || have > maxKernel {
		return 0, fmt.Errorf("%w: image size 0x%x, file 0x%x, at most 0x%x", ErrLimit, want, have, uint64(maxKernel))
	}
	if want <= have {
		return 0, nil
	}
	return want - have, nil
}

// compress returns the stream of data and pad zeros, and their size.
func compress(ctx context.Context, method string, data [][]byte, pad uint64) ([]byte, uint32, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch method {
	case "gzip":
		// A signed kernel must fit where gzip -9 put it before it was signed.
		w = deflate.NewWriter(&out)
	case "zstd", "zstd22":
		// One goroutine: the stream must not depend on how many there are.
		w, err = zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	default:
		return nil, 0, fmt.Errorf("%w: compression method %q, want gzip or zstd", ErrPart, method)
	}
	if err != nil {
		return nil, 0, err
	}
	m := &meter{ctx: ctx, w: w}
	for _, b := range data {
		if _, err := m.Write(b); err != nil {
			return nil, 0, err
		}
	}
	zeros := make([]byte, 64<<10)
	for left := pad; left > 0; {
		n := min(left, uint64(len(zeros)))
		if _, err := m.Write(zeros[:n]); err != nil {
			return nil, 0, err
		}
		left -= n
	}
	if err := w.Close(); err != nil {
		return nil, 0, err
	}
	return out.Bytes(), uint32(m.done), nil
}

// unpacks decompresses a stream and compares what comes out with data and pad
// zeros: a mistake of a compressor must not show when the kernel is to start.
func unpacks(stream []byte, data [][]byte, pad uint64) (err error) {
	m, err := decompress(stream)
	if err != nil {
		return fmt.Errorf("read the payload back: %w", err)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	rest := m.Bytes()
	for _, b := range data {
		if !bytes.HasPrefix(rest, b) {
			return fmt.Errorf("%w: the payload unpacks to another kernel", ErrPart)
		}
		rest = rest[len(b):]
	}
	if uint64(len(rest)) != pad || len(bytes.TrimLeft(rest, "\x00")) > 0 {
		return fmt.Errorf("%w: the payload unpacks to 0x%x bytes behind the kernel, want 0x%x zeros", ErrPart, len(rest), pad)
	}
	return nil
}

// headerOnly makes a PE image of headers and payload without any code. Its
// subsystem is none of EFI's, so that firmware refuses it instead of running
// data.
func headerOnly(method string, machine uint16, payload []byte, size uint32) (*pe.Layout, error) {
	const subsystemNative = 1
	h := zboot.Header{PayloadOffset: zboot.HeaderSize, PayloadSize: uint32(len(payload)), Method: method, Magic: zboot.PEMagic}
	head, err := h.Encode()
	if err != nil {
		return nil, err
	}
	b := pe.NewBuilder(pe.Options{DOS: head, Machine: machine, Subsystem: subsystemNative})
	data := [][]byte{payload}
	if method != "gzip" {
		data = append(data, binary.LittleEndian.AppendUint32(nil, size))
	}
	if err := b.Add(pe.NewSection{Name: ".data", Data: data, Characteristics: pe.SectionInitializedData | pe.SectionRead}); err != nil {
		return nil, err
	}
	l, err := b.Layout()
	if err != nil {
		return nil, err
	}
	if err := zboot.SetPayload(l.Header, l.Sections[0].PointerToRawData, uint32(len(payload))); err != nil {
		return nil, err
	}
	l.UpdateCheckSum()
	return l, nil
}

// A skippable frame of zstd.
const (
	skippableMagic  = 0x184d2a50
	skippableHeader = 8
)

// transplant puts a payload into the place of another one's. The decompressor
// takes the room up to the end that the linker fixed, whose last four bytes
// are the size of the kernel; what the stream leaves of it is padding that
// decompressors ignore: zeros behind gzip, a frame to be skipped behind zstd.
func transplant(from []byte, machine uint16, payload []byte, size uint32) (chunks, error) {
	old, err := zboot.Parse(from)
	if err != nil {
		return nil, err
	}
	f, err := pe.Parse(from)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStub, err)
	}
	if f.Machine != machine {
		return nil, fmt.Errorf("%w: kernel has machine type 0x%04x, decompressor 0x%04x", ErrArch, machine, f.Machine)
	}
	const trailer = 4
	off, room := uint64(old.PayloadOffset), uint64(old.PayloadSize)
	need := uint64(len(payload))
	if old.Method != "gzip" {
		room += trailer
		need += trailer
	}
	if off+room > uint64(len(from)) || f.CertTable.Size > 0 && off+room > f.CertTable.Offset {
		return nil, fmt.Errorf("%w: payload ends at 0x%x", ErrStub, off+room)
	}
	// A gzip stream ends with its size already; only when zeros follow does
	// the size need four bytes of its own.
	if old.Method == "gzip" && need < room && need+trailer > room {
		need += trailer
	}
	if need > room {
		return nil, fmt.Errorf("%w: kernel compresses to 0x%x bytes, the decompressor has room for 0x%x", ErrLimit, need, room)
	}
	a, err := sign.Strip(f)
	if err != nil {
		return nil, err
	}
	b := a.Bytes()
	place := b[off : off+room]
	clear(place)
	if gap := room - need; old.Method != "gzip" && gap > 0 {
		// Decompressors take what follows the frame for another one: give
		// them one to skip (RFC 8878, section 3.1.2).
		if gap < skippableHeader {
			return nil, fmt.Errorf("%w: kernel compresses to 0x%x bytes, the decompressor has room for 0x%x, and a zstd frame that fills the rest has at least %d", ErrLimit, need, room, skippableHeader)
		}
		payload = binary.LittleEndian.AppendUint32(payload, skippableMagic)
		payload = binary.LittleEndian.AppendUint32(payload, uint32(gap-skippableHeader))
		payload = append(payload, make([]byte, gap-skippableHeader)...)
	}
	copy(place, payload)
	binary.LittleEndian.PutUint32(place[room-trailer:], size)
	if err := zboot.SetPayload(b, old.PayloadOffset, uint32(len(payload))); err != nil {
		return nil, err
	}
	return resum(b)
}

// resum brings the PE checksum of b up to date.
func resum(b []byte) (chunks, error) {
	f, err := pe.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStub, err)
	}
	a, err := sign.Strip(f)
	if err != nil {
		return nil, err
	}
	return chunks(a.Parts()), nil
}
