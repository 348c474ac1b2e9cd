// SPDX-License-Identifier: Apache-2.0

// Package uri reads PKCS #11 URIs (RFC 7512).
//
// In: a text. Out: what it asks for, attribute by attribute. It must never
// pass over an attribute that narrows the choice.
package uri

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ErrURI means that a text is no PKCS #11 URI, or asks for what is not
// supported.
var ErrURI = errors.New("not a PKCS #11 URI")

// MaxLength of a URI in bytes, and of a file with a PIN.
const (
	MaxLength = 8 << 10
	maxPIN    = 1 << 10
)

// Attributes of a path (RFC 7512, section 2.3).
const (
	Token               = "token"
	Manufacturer        = "manufacturer"
	Serial              = "serial"
	Model               = "model"
	LibraryManufacturer = "library-manufacturer"
	LibraryVersion      = "library-version"
	LibraryDescription  = "library-description"
	Object              = "object"
	Type                = "type"
	ID                  = "id"
	SlotManufacturer    = "slot-manufacturer"
	SlotDescription     = "slot-description"
	SlotID              = "slot-id"
)

// Attributes of a query (RFC 7512, section 2.4).
const (
	PINSource  = "pin-source"
	PINValue   = "pin-value"
	ModuleName = "module-name"
	ModulePath = "module-path"
)

func pathNames() []string {
	return []string{Token, Manufacturer, Serial, Model, LibraryManufacturer, LibraryVersion, LibraryDescription,
		Object, Type, ID, SlotManufacturer, SlotDescription, SlotID}
}

func queryNames() []string { return []string{PINSource, PINValue, ModuleName, ModulePath} }

// URI is what a URI asks for.
type URI struct {
	attrs map[string]string
}

// Parse reads a URI. It fails with ErrURI.
func Parse(s string) (*URI, error) {
	rest, ok := cutScheme(s)
	if !ok {
		return nil, fmt.Errorf("%w: its scheme is not pkcs11", ErrURI)
	}
	if len(s) > MaxLength {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrURI, len(s), MaxLength)
	}
	path, query, _ := strings.Cut(rest, "?")
	u := &URI{attrs: map[string]string{}}
	if err := u.add(path, ";", pathNames()); err != nil {
		return nil, err
	}
	if err := u.add(query, "&", queryNames()); err != nil {
		return nil, err
	}
	if v, ok := u.attrs[SlotID]; ok {
		if _, err := strconv.ParseUint(v, 10, 32); err != nil {
			return nil, fmt.Errorf("%w: slot-id=%q is no number", ErrURI, v)
		}
	}
	if v, ok := u.attrs[Type]; ok && v != "private" && v != "public" && v != "cert" {
		return nil, fmt.Errorf("%w: type=%q is nothing that leads to a key", ErrURI, v)
	}
	return u, nil
}

func cutScheme(s string) (string, bool) {
	const scheme = "pkcs11:"
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return "", false
	}
	return s[len(scheme):], true
}

func (u *URI) add(list, separator string, names []string) error {
	if list == "" {
		return nil
	}
	for part := range strings.SplitSeq(list, separator) {
		name, value, ok := strings.Cut(part, "=")
		if !ok && separator == "&" {
			// It could be the end of a PIN with a "&" that is not encoded.
			return fmt.Errorf("%w: an attribute of the query has no value", ErrURI)
		}
		if !ok {
			return fmt.Errorf("%w: attribute %q has no value", ErrURI, part)
		}
		if strings.HasPrefix(name, "x-") && separator == "&" {
			continue // a vendor's, for other programs
		}
		if !slices.Contains(names, name) {
			return fmt.Errorf("%w: attribute %q is not known", ErrURI, name)
		}
		if _, twice := u.attrs[name]; twice {
			return fmt.Errorf("%w: attribute %q is there twice", ErrURI, name)
		}
		v, err := url.PathUnescape(value)
		if err != nil {
			return fmt.Errorf("%w: attribute %q: %w", ErrURI, name, err)
		}
		if name != ID && strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%w: attribute %q contains a control character", ErrURI, name)
		}
		u.attrs[name] = v
	}
	return nil
}

// Get returns an attribute, decoded; ok is false when the URI has none of that
// name.
func (u *URI) Get(name string) (value string, ok bool) {
	value, ok = u.attrs[name]
	return value, ok
}

// PIN returns the PIN that the URI has in itself or in a file; "" when it has
// none. One newline at the end of the file is not part of it.
func (u *URI) PIN() (string, error) {
	if v, ok := u.Get(PINValue); ok {
		return v, nil
	}
	src, ok := u.Get(PINSource)
	if !ok {
		return "", nil
	}
	if strings.HasPrefix(src, "|") {
		return "", fmt.Errorf("%w: pin-source=%q: programs are not run", ErrURI, src)
	}
	path := src
	if rest, ok := strings.CutPrefix(src, "file:"); ok {
		path = strings.TrimPrefix(rest, "//")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("pin-source: %w", err)
	}
	defer f.Close()
	// Part of a PIN would cost one of the few tries that a token gives.
	b, err := io.ReadAll(io.LimitReader(f, maxPIN+1))
	if err != nil {
		return "", fmt.Errorf("pin-source: %w", err)
	}
	if len(b) > maxPIN {
		return "", fmt.Errorf("pin-source: %s: more than %d bytes", path, maxPIN)
	}
	pin := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if pin == "" {
		return "", fmt.Errorf("pin-source: %s is empty", path)
	}
	return pin, nil
}
