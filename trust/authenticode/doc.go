// SPDX-License-Identifier: Apache-2.0

// Package authenticode reads the embedded signatures of a PE image and
// compares the digests they sign with the image's own.
//
// In: a parsed PE image. Out: one Signature per certificate-table entry: the
// signed digest, the CMS message around it, whether digest and message fit
// the image, time stamps.
//
// Source: Windows Authenticode Portable Executable Signature Format, 2008;
// UEFI specification, section 32.5.
//
// It must never say that an image is trusted. A Signature that fits proves
// that somebody signed this image; who may do so is package trust's question.
package authenticode
