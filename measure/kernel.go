// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"

	"github.com/peelboot/peel/image/linux"
	"github.com/peelboot/peel/measure/eventlog"
)

// kernelRelease is what decides what the kernel's own EFI stub measures.
type kernelRelease struct {
	release      string
	major, minor int
}

// kernelOf reads the release out of a kernel image.
func kernelOf(b []byte) kernelRelease {
	k := kernelRelease{release: linux.Release(linux.Banner(b))}
	if z, err := linux.ParseBzImage(b); err == nil {
		k.release = linux.Release(z.Version)
	}
	if _, err := fmt.Sscanf(k.release, "%d.%d", &k.major, &k.minor); err != nil {
		k.major, k.minor = 0, 0
	}
	return k
}

func (k kernelRelease) atLeast(major, minor int) bool {
	return k.major == 0 || k.major > major || k.major == major && k.minor >= minor
}

func (p *Prediction) noteKernel(k kernelRelease) {
	if k.major == 0 {
		p.note("the kernel's release could not be read: PCR 9 is that of a recent kernel")
	}
}

// events are those of the kernel's EFI stub: the load options since Linux 6.x,
// with their final zero; then the RAM disk since 5.x.
func (k kernelRelease) events(banks []eventlog.Hash, cmdline string, initrd [][]byte) []eventlog.Event {
	var out []eventlog.Event
	if cmdline != "" && k.atLeast(sinceLoadOptionsMajor, sinceLoadOptionsMinor) {
		data := eventlog.AppendTagged(nil, TagLoadOptions, []byte("LOADED_IMAGE::LoadOptions\x00"))
		out = append(out, eventlog.NewEvent(PCRKernelInitrd, eventlog.EventTag, banks, data, eventlog.UTF16(cmdline)))
	}
	if len(initrd) > 0 && k.atLeast(sinceInitrdMajor, sinceInitrdMinor) {
		data := eventlog.AppendTagged(nil, TagInitrd, []byte("Linux initrd\x00"))
		out = append(out, eventlog.NewEvent(PCRKernelInitrd, eventlog.EventTag, banks, data, initrd...))
	}
	return out
}

// Releases of Linux from which its EFI stub measures.
const (
	sinceInitrdMajor, sinceInitrdMinor           = 5, 16
	sinceLoadOptionsMajor, sinceLoadOptionsMinor = 5, 18
)
