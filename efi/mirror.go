// SPDX-License-Identifier: Apache-2.0

package efi

import (
	"fmt"

	"github.com/peelboot/peel/efi/capture"
)

// VariableStore takes variables, such as machine/efivarfs.Dir does for the
// machine's own. Data nil deletes one.
type VariableStore interface {
	Set(name, guid string, attributes uint32, data []byte) error
}

// Mirrored is a variable that was to be written, and why it was not.
type Mirrored struct {
	capture.Variable
	// Err is nil when the store took it.
	Err error
}

// Mirror writes the variables that an image has set to a store, in the order
// in which the image set them last. One that the store refuses stops no
// other: firmware takes volatile variables, which are most that stubs set,
// only before an operating system runs. Nothing is mirrored unless this is
// called; call it when the kernel is loaded, since a run that failed must
// leave nothing behind.
func Mirror(list []capture.Variable, to VariableStore) []Mirrored {
	var out []Mirrored
	for _, v := range list {
		m := Mirrored{Variable: v}
		if err := to.Set(v.Name, v.GUID, v.Attributes, v.Data); err != nil {
			m.Err = fmt.Errorf("efi: mirror: %w", err)
		}
		out = append(out, m)
	}
	return out
}
