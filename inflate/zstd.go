// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/peelboot/peel/internal/magic"
)

// zstdMaxBlock is the largest size of a block's content in bytes (RFC 8878,
// 3.1.1.2.4).
const zstdMaxBlock = 128 << 10

// zstdFrame is what the headers of a frame and its blocks say.
type zstdFrame struct {
	size       uint64 // of the whole frame in the input, bytes
	window     uint64 // bytes; the content size if single
	content    uint64 // bytes, if hasContent
	bound      uint64 // the content is not larger than this
	dictionary uint32 // id, 0 for none
	hasContent bool
	single     bool // a single segment: no window of its own
}

// zstdWalk reads the headers of the frame at src[pos:], which begins with the
// magic number, without decoding any block.
func zstdWalk(src []byte, pos int) (zstdFrame, error) {
	var f zstdFrame
	b := src[pos:]
	if len(b) < 5 {
		return f, errAt(ErrTruncated, len(src), "zstd frame header")
	}
	desc := b[4]
	if desc&0x08 != 0 {
		return f, errAt(ErrUnsupported, pos+4, "zstd frame descriptor 0x%02x", desc)
	}
	f.single = desc&0x20 != 0
	idSize := [4]int{0, 1, 2, 4}[desc&3]
	contentSize := [4]int{0, 2, 4, 8}[desc>>6]
	if contentSize == 0 && f.single {
		contentSize = 1
	}
	at := 5
	if !f.single {
		at++
	}
	if len(b) < at+idSize+contentSize {
		return f, errAt(ErrTruncated, len(src), "zstd frame header has %d of %d bytes", len(b), at+idSize+contentSize)
	}
	if !f.single {
		exp, mantissa := b[5]>>3, b[5]&7
		base := uint64(1) << (10 + exp)
		f.window = base + base/8*uint64(mantissa)
	}
	f.dictionary = uint32(littleEndian(b[at : at+idSize]))
	at += idSize
	if contentSize > 0 {
		f.hasContent = true
		f.content = littleEndian(b[at : at+contentSize])
		if contentSize == 2 {
			f.content += 256
		}
		at += contentSize
	}
	if f.single {
		f.window = f.content
	}

	// A block's content is limited by the window, too.
	block := min(max(f.window, 1<<10), zstdMaxBlock)
	for last := false; !last; {
		if len(b)-at < 3 {
			return f, errAt(ErrTruncated, len(src), "zstd block header")
		}
		head := uint32(littleEndian(b[at : at+3]))
		last = head&1 != 0
		size := uint64(head >> 3)
		stored := size
		switch head >> 1 & 3 {
		case 0: // raw
			f.bound += size
		case 1: // one byte repeated
			f.bound += size
			stored = 1
		case 2:
			f.bound += block
		default:
			return f, errAt(ErrCorrupt, pos+at, "reserved zstd block type")
		}
		if size > block {
			return f, errAt(ErrCorrupt, pos+at, "zstd block of 0x%x bytes, window 0x%x", size, f.window)
		}
		at += 3
		if uint64(len(b)-at) < stored {
			return f, errAt(ErrTruncated, len(src), "zstd block has 0x%x of 0x%x bytes", len(b)-at, stored)
		}
		at += int(stored)
	}
	if desc&0x04 != 0 {
		if len(b)-at < 4 {
			return f, errAt(ErrTruncated, len(src), "zstd checksum")
		}
		at += 4
	}
	f.size = uint64(at)
	return f, nil
}

// littleEndian reads up to eight bytes.
func littleEndian(b []byte) uint64 {
	var v uint64
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	return v
}

// zstd decodes concatenated zstd frames and skippable frames.
func (o Options) zstd(dst, src []byte) (Result, error) {
	var (
		r Result
		d = zstdFrames{o: o}
	)
	defer d.close()
	for {
		rest := src[r.Read:]
		if n, ok := magic.Skippable(rest); ok {
			if n > uint64(len(rest)) {
				return r, errAt(ErrTruncated, len(src), "skippable frame has 0x%x of 0x%x bytes", len(rest), n)
			}
			r.Read += int(n)
			continue
		}
		if !bytes.HasPrefix(rest, []byte(magic.Zstd)) {
			if r.Read > 0 {
				return r, nil
			}
			if bytes.HasPrefix([]byte(magic.Zstd), rest) {
				return r, errAt(ErrTruncated, len(src), "zstd magic")
			}
			return r, errAt(ErrCorrupt, 0, "no zstd magic")
		}
		f, err := zstdWalk(src, r.Read)
		if err != nil {
			return r, err
		}
		switch {
		case f.dictionary != 0:
			return r, errAt(ErrUnsupported, r.Read, "zstd dictionary 0x%x", f.dictionary)
		case f.hasContent && f.content > uint64(len(dst)-r.Written):
			return r, errLimit(r.Read, len(dst))
		case !f.single && f.window > o.maxDictionary():
			return r, errAt(ErrDictionary, r.Read, "zstd window of 0x%x bytes, bound 0x%x", f.window, o.maxDictionary())
		}
		n, done, err := d.decodeDirect(dst[r.Written:], rest[:f.size], f, r.Read)
		if !done {
			n, err = d.decodeWindow(dst[r.Written:], rest[:f.size], f, r.Read, len(dst))
		}
		r.Written += n
		if err != nil {
			return r, err
		}
		r.Read += int(f.size)
	}
}

// zstdSlack is the room in bytes that one block and the library's wide copies
// need.
const zstdSlack = zstdMaxBlock + overrun

// zstdFrames decodes frames in one of two ways, each with a decoder that is made
// when first needed and kept: many small frames must not cost a window each.
type zstdFrames struct {
	o      Options
	direct *zstd.Decoder
	stop   uint64 // direct gives up after this many bytes
	window *zstd.Decoder
}

// zstdNoStop is a stop that no frame reaches.
const zstdNoStop = 1 << 62

func (d *zstdFrames) close() {
	for _, dec := range []*zstd.Decoder{d.direct, d.window} {
		if dec != nil {
			dec.Close()
		}
	}
}

// decodeDirect decodes a frame straight to the start of dst, which is the fast
// way and needs no window. It returns false if this way cannot tell whether the
// frame fits. off is for messages.
//
// The library moves all output to a slice of its own when a block does not fit,
// so it must not come to that: either the frame cannot outgrow dst, or the
// library is told to stop while there still is room for one block.
func (d *zstdFrames) decodeDirect(dst, frame []byte, f zstdFrame, off int) (n int, done bool, err error) {
	room, stop := uint64(len(dst)), uint64(zstdNoStop)
	if f.bound > room {
		if room <= zstdSlack {
			return 0, false, nil
		}
		// The library takes no window larger than that, either.
		if stop = room - zstdSlack; f.window > stop {
			return 0, false, nil
		}
	}
	if d.direct == nil {
		d.direct, err = zstdDecoder(1<<31, zstd.WithDecoderMaxMemory(stop))
	} else if d.stop != stop {
		err = d.direct.ResetWithOptions(nil, zstd.WithDecoderMaxMemory(stop))
	}
	if err != nil {
		return 0, true, errAt(ErrUnsupported, off, "%v", err)
	}
	d.stop = stop
	out, err := d.direct.DecodeAll(frame, dst[:0])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return 0, false, nil
	case err != nil:
		return 0, true, zstdError(err, off)
	case len(out) > 0 && (len(dst) == 0 || &out[0] != &dst[0]):
		// The library did move the output: leave its copy alone.
		return 0, false, nil
	}
	clearOverrun(dst, len(out))
	return len(out), true, nil
}

// zstdDecoder makes a decoder that works in the caller's goroutine. maxWindow
// bounds the window in bytes.
func zstdDecoder(maxWindow uint64, opts ...zstd.DOption) (*zstd.Decoder, error) {
	return zstd.NewReader(nil, append([]zstd.DOption{
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(max(maxWindow, zstd.MinWindowSize)),
		zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecodeBuffersBelow(0),
	}, opts...)...)
}

// decodeWindow decodes a frame that ends near the end of dst or behind it,
// through the library's window. off and limit are for messages.
func (d *zstdFrames) decodeWindow(dst, frame []byte, f zstdFrame, off, limit int) (int, error) {
	bound := d.o.maxDictionary()
	if f.window > bound {
		return 0, errAt(ErrDictionary, off, "zstd segment of 0x%x bytes, bound 0x%x", f.window, bound)
	}
	var err error
	if d.window == nil {
		d.window, err = zstdDecoder(bound)
	}
	if err == nil {
		err = d.window.Reset(bytes.NewReader(frame))
	}
	if err != nil {
		return 0, errAt(ErrUnsupported, off, "%v", err)
	}
	dec := d.window
	n, err := io.ReadFull(dec, dst)
	switch {
	case err == nil, len(dst) == 0:
		// dst is full; the frame must end here.
		var one [1]byte
		k, err := io.ReadFull(dec, one[:])
		if k > 0 {
			return n, errLimit(off, limit)
		}
		if err != io.EOF {
			return n, zstdError(err, off)
		}
		return n, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && n > 0 && n < len(dst):
		// ReadFull says "unexpected EOF" both for a frame that ends before dst
		// is full, which is fine, and for a broken one: ask again.
		if _, err := dec.Read(dst[n:]); err != io.EOF {
			return n, zstdError(err, off)
		}
		return n, nil
	}
	return n, zstdError(err, off)
}

// zstdError makes an error of the library's for the frame at offset off, which
// is known to be complete.
func zstdError(err error, off int) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errAt(ErrCorrupt, off, "zstd frame: a block ends early")
	}
	return errAt(ErrCorrupt, off, "zstd frame: %v", err)
}

// zstdSize adds up the content sizes of all frames.
func zstdSize(src []byte) (uint64, bool) {
	var total uint64
	pos, found := 0, false
	for {
		if n, ok := magic.Skippable(src[pos:]); ok && n <= uint64(len(src)-pos) {
			pos += int(n)
			continue
		}
		if len(src)-pos < 4 || binary.LittleEndian.Uint32(src[pos:]) != 0xFD2FB528 {
			return total, found
		}
		f, err := zstdWalk(src, pos)
		if err != nil || !f.hasContent || total+f.content < total {
			return 0, false
		}
		total += f.content
		pos += int(f.size)
		found = true
	}
}
