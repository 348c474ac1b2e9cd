// SPDX-License-Identifier: Apache-2.0

package ima

import "errors"

// Attribute is the name of the extended attribute.
const Attribute = "security.ima"

// ErrNoAttribute: the file has no security.ima, or its file system has no
// extended attributes.
var ErrNoAttribute = errors.New("no security.ima attribute")

// Reader reads an extended attribute of one file, at most limit bytes of it.
// It returns an error that wraps ErrNoAttribute when there is none.
type Reader interface {
	ReadAttribute(name string, limit int) ([]byte, error)
}

// Read returns the bytes of security.ima, nil when there is none.
func Read(r Reader) ([]byte, error) {
	b, err := r.ReadAttribute(Attribute, MaxSize)
	if errors.Is(err, ErrNoAttribute) {
		return nil, nil
	}
	return b, err
}
