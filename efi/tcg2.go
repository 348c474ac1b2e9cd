// SPDX-License-Identifier: Apache-2.0

package efi

import "github.com/peelboot/peel/efi/firmware"

// Measuring says where the measurements of an image go: into registers and a
// log of its own, or through to a TPM as well.
type Measuring = firmware.Measuring

// Measurements are what an image has measured.
type Measurements = firmware.Measurements

// TPM is what measurements can be passed through to, as they happen.
type TPM = firmware.TPM

// CCType is a kind of confidential guest.
type CCType = firmware.CCType

// Kinds of confidential guest.
const (
	CCNone = firmware.CCNone
	CCSEV  = firmware.CCSEV
	CCTDX  = firmware.CCTDX
)

// ErrTPM means that a measurement did not reach the TPM that it was for.
var ErrTPM = firmware.ErrTPM
