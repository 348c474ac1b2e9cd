// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/peelboot/peel/image/uki"
)

// LoadOptions returns the load options with which firmware would start the
// image b so that its kernel gets a command line: cmdline if it is not nil,
// else the image's own; with more put behind it. profile is a number or an ID
// of a profile of a UKI, or empty. When nothing is asked for, the options are
// empty and a UKI uses its own command line.
//
// It fails with the errors of image/uki for a profile that is not there.
func LoadOptions(b []byte, profile string, cmdline *string, more string) (string, error) {
	line, selector := "", ""
	if cmdline != nil {
		line = *cmdline
	}
	in := Detect(b)
	if in.Kind == KindUKI {
		img, err := uki.Read(in.PE)
		if err != nil {
			return "", err
		}
		n := uki.Base
		if len(img.Profiles) > 0 {
			n = 0
		}
		if profile != "" {
			if n, err = strconv.Atoi(profile); err != nil {
				if n, err = img.ProfileByID(profile); err != nil {
					return "", err
				}
			}
			selector = fmt.Sprintf("@%d ", n)
		}
		sel, err := img.Select(n)
		if err != nil {
			return "", err
		}
		if cmdline == nil && more != "" {
			if line, _, err = sel.Cmdline(); err != nil {
				return "", err
			}
		}
	} else if profile != "" {
		return "", fmt.Errorf("%w: %q: %s has none", uki.ErrProfile, profile, in.Kind)
	}
	return strings.TrimSpace(selector + strings.TrimSpace(line+" "+more)), nil
}
