// SPDX-License-Identifier: Apache-2.0

package inflate

import (
	"compress/bzip2"
	"errors"
	"io"
)

// bzip2Source feeds the decoder byte by byte and knows how far it read. It
// offers two bytes more than the input has: with those the decoder's answer at
// the end of a stream is the same whether or not anything follows.
type bzip2Source struct {
	src []byte
	pos int
}

func (s *bzip2Source) ReadByte() (byte, error) {
	switch {
	case s.pos < len(s.src):
		s.pos++
		return s.src[s.pos-1], nil
	case s.pos < len(s.src)+2:
		s.pos++
		return 0xFF, nil
	}
	return 0, io.EOF
}

func (s *bzip2Source) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := s.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

// bzip2NoMore is what the decoder reports, having read two bytes too many, when
// what follows a complete stream does not begin another one.
const bzip2NoMore = bzip2.StructuralError("bad magic value in continuation file")

// bzip2 decodes concatenated bzip2 streams.
func (o Options) bzip2(dst, src []byte) (Result, error) {
	var (
		in  = &bzip2Source{src: src}
		br  = bzip2.NewReader(in)
		r   Result
		one [1]byte
	)
	for {
		buf := dst[r.Written:]
		full := len(buf) == 0
		if full {
			buf = one[:]
		}
		n, err := br.Read(buf)
		if full && n > 0 {
			if in.pos > len(src) {
				return r, errAt(ErrTruncated, len(src), "bzip2 data")
			}
			return r, errLimit(in.pos, len(dst))
		}
		r.Written += n
		if err == nil {
			continue
		}
		end := in.pos - 2
		switch {
		case errors.Is(err, bzip2NoMore) && end <= len(src):
			r.Read = end
			return r, nil
		case in.pos > len(src):
			return r, errAt(ErrTruncated, len(src), "bzip2 data")
		default:
			return r, errAt(ErrCorrupt, in.pos, "%v", err)
		}
	}
}
