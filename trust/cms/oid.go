// SPDX-License-Identifier: Apache-2.0

package cms

import "encoding/asn1"

// Object identifiers of content types and attributes, by the document that
// assigns them.
func oidSignedData() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2} // RFC 5652, section 5.1
}

// OIDData is id-data, the content type of plain detached signatures
// (RFC 5652, section 4).
func OIDData() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
}

// OIDTSTInfo is id-ct-TSTInfo, the content of a time-stamp token (RFC 3161,
// section 2.4.2).
func OIDTSTInfo() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
}

// Attribute types in dotted form (RFC 5652, section 11; Microsoft's
// Authenticode specification for the last two).
const (
	attrContentType      = "1.2.840.113549.1.9.3"
	attrMessageDigest    = "1.2.840.113549.1.9.4"
	attrSigningTime      = "1.2.840.113549.1.9.5"
	attrCounterSignature = "1.2.840.113549.1.9.6"
	attrTimestampToken   = "1.2.840.113549.1.9.16.2.14" // RFC 3161, appendix A
	attrMSTimestampToken = "1.3.6.1.4.1.311.3.3.1"      // SPC_RFC3161_OBJID
	// AttrNestedSignature holds further Authenticode signatures as whole
	// ContentInfo structures (SPC_NESTED_SIGNATURE_OBJID). Firmware does
	// not look into it.
	AttrNestedSignature = "1.3.6.1.4.1.311.2.4.1"
)
