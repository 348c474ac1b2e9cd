// SPDX-License-Identifier: Apache-2.0

package trust

// Extend decides about further objects and adds them to a report that Verify
// made with the same rules, without looking at the earlier ones again. The
// error is that of Verify for all objects together.
func (v *Verifier) Extend(r *Report, objects ...Object) error {
	for i := range objects {
		r.Layers = append(r.Layers, v.layer(&objects[i], r))
	}
	return r.finish()
}
