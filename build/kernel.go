// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"

	"github.com/peelboot/peel/build/sign"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/zboot"
	"github.com/peelboot/peel/inflate"
	"github.com/peelboot/peel/internal/sealed"
)

// maxKernel bounds a decompressed kernel; the largest with debug information
// stripped have some 100 MiB.
const maxKernel = 1 << 30

// kernel is the kernel of a UKI.
type kernel struct {
	data [][]byte
	info image.Info
	// release is what uname -r will say, or "".
	release string
	notes   []string
	close   func() error
}

// openKernel reads the kernel, decompresses one that firmware could not load
// as it is, and signs it if there is a key; onlyUnsigned keeps a signature that
// is there.
func openKernel(b []byte, name string, sigs []Signature, onlyUnsigned bool) (k *kernel, err error) {
	k = &kernel{info: image.Detect(b), close: func() error { return nil }}
	if k.info.Kind == image.KindCompress {
		m, err := decompress(b)
		if err != nil {
			return nil, fmt.Errorf("%w: kernel %s: %w", ErrPart, name, err)
		}
		b, k.close = m.Bytes(), m.Close
		k.info = image.Detect(b)
		k.notes = append(k.notes, fmt.Sprintf("kernel %s is compressed as a whole and goes in decompressed", name))
	}
	opened := k
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	if k.info.Err != nil {
		return nil, fmt.Errorf("%w: kernel %s: %w", ErrPart, name, k.info.Err)
	}
	if k.info.PE == nil {
		return nil, fmt.Errorf("%w: kernel %s is no EFI program (%s)", ErrPart, name, k.info.Kind)
	}
	if k.info.Kind == image.KindUKI || k.info.Kind == image.KindAddon {
		return nil, fmt.Errorf("%w: kernel %s is itself a %s", ErrPart, name, k.info.Kind)
	}
	if k.release, err = releaseOf(b, k.info); err != nil {
		k.notes = append(k.notes, fmt.Sprintf("kernel %s does not tell its release: %v", name, err))
	}
	k.data = [][]byte{b}
	f := k.info.PE
	if len(sigs) == 0 || onlyUnsigned && f.CertTable.Size > 0 {
		return k, nil
	}
	for _, s := range sigs {
		a, err := sign.PE(f, s.Key, s.Options, false)
		if err != nil {
			return nil, fmt.Errorf("kernel %s: %w", name, err)
		}
		k.data = a.Parts()
		if len(sigs) == 1 {
			break
		}
		if f, err = pe.Parse(a.Bytes()); err != nil {
			return nil, fmt.Errorf("kernel %s: %w", name, err)
		}
	}
	return k, nil
}

// decompress undoes a compression that covers the whole of b.
func decompress(b []byte) (*sealed.Memory, error) {
	buf, err := sealed.NewBuffer("kernel", maxKernel)
	if err != nil {
		return nil, err
	}
	r, err := inflate.Decompress(inflate.Detect(b), buf.Bytes(), b)
	if err != nil {
		return nil, errors.Join(err, buf.Close())
	}
	return buf.Seal(int64(r.Written))
}

// releaseOf finds out what uname -r of a kernel says.
func releaseOf(b []byte, info image.Info) (string, error) {
	switch info.Kind {
	case image.KindBzImage:
		k, err := linux.ParseBzImage(b)
		if err != nil {
			return "", err
		}
		if r := linux.Release(k.Version); r != "" {
			return r, nil
		}
		return "", fmt.Errorf("version text %q", k.Version)
	case image.KindZboot:
		z, err := zboot.Parse(b)
		if err != nil {
			return "", err
		}
		m, err := decompress(z.Payload())
		if err != nil {
			return "", err
		}
		r := linux.Release(linux.Banner(m.Bytes()))
		if err := m.Close(); err != nil {
			return "", err
		}
		if r == "" {
			return "", errors.New("no version text in the payload")
		}
		return r, nil
	}
	if r := linux.Release(linux.Banner(b)); r != "" {
		return r, nil
	}
	return "", errors.New("no version text")
}
