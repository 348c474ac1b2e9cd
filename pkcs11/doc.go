// SPDX-License-Identifier: Apache-2.0

// Module pkcs11 holds peel-pkcs11, the signing program for PKCS #11 tokens:
// smart cards, hardware security modules, SoftHSM. It is a module and a
// program of its own because such tokens come with a shared library in C,
// which the static peel neither can nor should load.
//
// Its packages: uri reads RFC 7512, token talks to the library, serve speaks
// docs/signer-protocol.md.
package pkcs11
