// SPDX-License-Identifier: Apache-2.0

package tpm

import "github.com/google/go-tpm/tpm2/transport"

// Conn is the open connection, for packages that give a TPM other commands
// than this one. It ends with Close.
func (t *TPM) Conn() transport.TPM { return t.conn }
