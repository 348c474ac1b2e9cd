// SPDX-License-Identifier: Apache-2.0

// Package token signs with a private key in a PKCS #11 token.
//
// In: a URI, a PIN. Out: the key with its certificate, signatures. It must
// never change a token, try a PIN twice, or try it on a token that is not the
// only one the URI fits.
//
// Source: PKCS #11 Cryptographic Token Interface, version 2.40.
package token

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/peelboot/peel/pkcs11/serve"
	"github.com/peelboot/peel/pkcs11/uri"
)

// DefaultModule gives access to all modules that a system has configured.
const DefaultModule = "p11-kit-proxy.so"

// ModuleVar names the module when the URI does not; OpenSSL's provider looks
// at it too.
const ModuleVar = "PKCS11_PROVIDER_MODULE"

// Key is a private key in a token.
type Key struct {
	ctx     *pkcs11.Ctx
	session pkcs11.SessionHandle
	handle  pkcs11.ObjectHandle
	// pin is needed again where each signature wants it.
	pin    string
	always bool
	pub    any
	spki   []byte
	certs  [][]byte
	// undo are the steps back, last first.
	undo []func() error
}

// Open finds the key. pin is used when the URI has none. Errors are those of
// package serve.
func Open(key, pin string) (_ *Key, err error) {
	u, err := uri.Parse(key)
	if err != nil {
		return nil, err
	}
	own, err := u.PIN()
	if err != nil {
		return nil, &serve.Error{Code: serve.CodePIN, Err: err}
	}
	if own != "" {
		pin = own
	}
	k := &Key{pin: pin}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	if err := k.load(u); err != nil {
		return nil, err
	}
	slot, info, err := k.findToken(u)
	if err != nil {
		return nil, err
	}
	if k.session, err = k.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return nil, explain(fmt.Sprintf("token %q: open a session", info.Label), err)
	}
	k.undo = append(k.undo, func() error { return k.ctx.CloseSession(k.session) })
	if err := k.login(slot, info); err != nil {
		return nil, err
	}
	if err := k.findKey(u, info); err != nil {
		return nil, err
	}
	if k.spki, err = x509.MarshalPKIXPublicKey(k.pub); err != nil {
		return nil, serve.Errorf(serve.CodeUnsupported, "public key: %w", err)
	}
	return k, nil
}

// Public returns SubjectPublicKeyInfo in DER.
func (k *Key) Public() []byte { return k.spki }

// Certificates returns that of the key, in DER, if the token has it.
func (k *Key) Certificates() [][]byte { return k.certs }

// Close leaves the token.
func (k *Key) Close() error {
	var errs []error
	for _, f := range slices.Backward(k.undo) {
		errs = append(errs, f())
	}
	k.undo = nil
	return errors.Join(errs...)
}

// load loads the module.
func (k *Key) load(u *uri.URI) error {
	path, ok := u.Get(uri.ModulePath)
	if name, named := u.Get(uri.ModuleName); !ok && named {
		if strings.ContainsRune(name, '/') {
			return serve.Errorf(serve.CodeToken, "module-name %q is a path: use module-path", name)
		}
		path, ok = name+".so", true
	}
	if !ok {
		path = os.Getenv(ModuleVar)
	}
	if path == "" {
		path = DefaultModule
	}
	// A path is looked at first, since the loader's own reason is not told.
	if strings.ContainsRune(path, '/') {
		if _, err := os.Stat(path); err != nil {
			return serve.Errorf(serve.CodeToken, "PKCS #11 module: %w", err)
		}
	}
	if k.ctx = pkcs11.New(path); k.ctx == nil {
		return serve.Errorf(serve.CodeToken, "%s cannot be loaded as a PKCS #11 module (name one with module-path in the URI or with %s)", path, ModuleVar)
	}
	k.undo = append(k.undo, func() error { k.ctx.Destroy(); return nil })
	if err := k.ctx.Initialize(); err != nil {
		return explain(path+": initialise", err)
	}
	k.undo = append(k.undo, k.ctx.Finalize)
	lib, err := k.ctx.GetInfo()
	if err != nil {
		return explain(path+": library", err)
	}
	for name, got := range map[string]string{
		uri.LibraryManufacturer: lib.ManufacturerID, uri.LibraryDescription: lib.LibraryDescription,
		uri.LibraryVersion: fmt.Sprintf("%d.%d", lib.LibraryVersion.Major, lib.LibraryVersion.Minor),
	} {
		if want, ok := u.Get(name); ok && want != got {
			return serve.Errorf(serve.CodeToken, "the module's %s is %q, the URI wants %q", name, got, want)
		}
	}
	return nil
}

// findToken returns the one token that the URI fits.
func (k *Key) findToken(u *uri.URI) (slot uint, found pkcs11.TokenInfo, err error) {
	slots, err := k.ctx.GetSlotList(true)
	if err != nil {
		return 0, found, explain("list tokens", err)
	}
	var there, fit []string
	for _, s := range slots {
		info, err := k.ctx.GetTokenInfo(s)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue // an empty one, or one that was just taken out
		}
		there = append(there, fmt.Sprintf("%q (serial %s)", info.Label, info.SerialNumber))
		if ok, err := k.fits(u, s, info); err != nil {
			return 0, found, err
		} else if ok {
			fit = append(fit, there[len(there)-1])
			slot, found = s, info
		}
	}
	switch {
	case len(fit) == 1:
		return slot, found, nil
	case len(fit) > 1:
		return 0, found, serve.Errorf(serve.CodeToken, "the URI fits several tokens: %s; name one by token or serial", strings.Join(fit, ", "))
	case len(there) == 0:
		return 0, found, serve.Errorf(serve.CodeToken, "there is no token")
	}
	return 0, found, serve.Errorf(serve.CodeToken, "the URI fits no token; there are %s", strings.Join(there, ", "))
}

func (k *Key) fits(u *uri.URI, slot uint, info pkcs11.TokenInfo) (bool, error) {
	has := map[string]string{
		uri.Token: info.Label, uri.Manufacturer: info.ManufacturerID, uri.Serial: info.SerialNumber, uri.Model: info.Model,
		uri.SlotID: fmt.Sprint(slot),
	}
	_, byMaker := u.Get(uri.SlotManufacturer)
	_, byText := u.Get(uri.SlotDescription)
	if byMaker || byText {
		s, err := k.ctx.GetSlotInfo(slot)
		if err != nil {
			return false, explain("slot", err)
		}
		has[uri.SlotManufacturer], has[uri.SlotDescription] = s.ManufacturerID, s.SlotDescription
	}
	for name, got := range has {
		if want, ok := u.Get(name); ok && want != strings.TrimRight(got, " \x00") {
			return false, nil
		}
	}
	return true, nil
}

func (k *Key) login(slot uint, info pkcs11.TokenInfo) error {
	switch {
	case info.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return serve.Errorf(serve.CodePIN, "token %q: the PIN is locked after wrong ones", info.Label)
	case k.pin == "" && info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0:
		return serve.Errorf(serve.CodePIN, "token %q needs a PIN", info.Label)
	case k.pin == "":
		return nil
	}
	err := k.ctx.Login(k.session, pkcs11.CKU_USER, k.pin)
	if err == nil {
		k.undo = append(k.undo, func() error { return k.ctx.Logout(k.session) })
		return nil
	}
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
		return nil
	}
	what := fmt.Sprintf("token %q: log in", info.Label)
	if now, err2 := k.ctx.GetTokenInfo(slot); err2 == nil {
		switch {
		case now.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
			what += " (the PIN is locked now)"
		case now.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
			what += " (ONE TRY IS LEFT)"
		case now.Flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0:
			what += " (few tries are left)"
		}
	}
	return explain(what, err)
}

// explain gives a module's error its code.
func explain(what string, err error) error {
	code := ""
	var e pkcs11.Error
	if errors.As(err, &e) {
		switch e {
		case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_PIN_EXPIRED,
			pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
			code = serve.CodePIN
		case pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_SLOT_ID_INVALID, pkcs11.CKR_TOKEN_NOT_RECOGNIZED:
			code = serve.CodeToken
		case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_KEY_TYPE_INCONSISTENT, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, pkcs11.CKR_DATA_LEN_RANGE,
			pkcs11.CKR_KEY_SIZE_RANGE, pkcs11.CKR_FUNCTION_NOT_SUPPORTED:
			code = serve.CodeUnsupported
		}
	}
	return &serve.Error{Code: code, Err: fmt.Errorf("%s: %w", what, err)}
}
