// SPDX-License-Identifier: Apache-2.0

package pe

// Cleared returns the file in pieces that give it back when they are put
// together, with zeros in place of what Unhashed tells of: the bytes between
// sections that no signature over the file covers. The pieces are views of the
// file or of zeros.
func (f *File) Cleared() [][]byte {
	var parts [][]byte
	at := uint64(0)
	for _, e := range f.Unhashed() {
		parts = append(parts, f.Raw[at:e.Offset], make([]byte, e.Size))
		at = e.End()
	}
	return append(parts, f.Raw[at:])
}
