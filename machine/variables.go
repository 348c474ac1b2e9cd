// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Vendor GUIDs of variables, spelled as efivarfs spells them.
const (
	// GUIDGlobal is EFI_GLOBAL_VARIABLE (UEFI specification, section 3.3).
	GUIDGlobal = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	// GUIDSecurity is EFI_IMAGE_SECURITY_DATABASE_GUID (section 32.4.1).
	GUIDSecurity = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	// GUIDShim is the vendor GUID of shim's variables.
	GUIDShim = "605dab50-e046-4300-abb6-3dd810dd8b23"
	// GUIDLoader is the vendor GUID of the Boot Loader Interface.
	GUIDLoader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
)

// wantedVariables lists the variables whose contents a snapshot holds. Secrets
// (LoaderSystemToken, random seeds) must never be listed here.
var wantedVariables = map[string][]string{
	GUIDGlobal: {"SecureBoot", "SetupMode", "AuditMode", "DeployedMode", "PK", "KEK", "dbDefault", "dbxDefault", "BootCurrent"},
	GUIDSecurity: {
		"db", "dbx", "dbt", "dbr",
	},
	GUIDShim: {
		"MokListRT", "MokListXRT", "MokListTrustedRT", "MokSBStateRT", "MokIgnoreDB", "MokDBState",
		"MokPolicyRT", "SbatLevelRT", "ShimRetainProtocol",
	},
	GUIDLoader: {
		"LoaderInfo", "LoaderFirmwareInfo", "LoaderFirmwareType", "LoaderDevicePartUUID",
		"LoaderImageIdentifier", "LoaderEntrySelected", "LoaderEntryDefault", "LoaderFeatures",
		"LoaderTpm2ActivePcrBanks", "StubInfo", "StubFeatures", "StubProfile", "StubDevicePartUUID",
		"StubImageIdentifier", "StubPcrKernelImage", "StubPcrKernelParameters", "StubPcrInitRDSysExts",
		"StubPcrInitRDConfExts",
	},
}

// Variable is an EFI variable.
type Variable struct {
	// Attributes are the EFI_VARIABLE_* bits (UEFI specification, section
	// 8.2.1).
	Attributes uint32 `json:"attributes"`
	// Data is the contents.
	Data []byte `json:"data"`
}

// ParseVariable reads a file of efivarfs: 4 bytes of attributes, little
// endian, and the contents.
func ParseVariable(b []byte) (Variable, error) {
	if len(b) < 4 {
		return Variable{}, fmt.Errorf("%w: EFI variable of %d bytes lacks its attributes", ErrMalformed, len(b))
	}
	return Variable{Attributes: binary.LittleEndian.Uint32(b), Data: b[4:]}, nil
}

// Variable returns a variable of the snapshot. A variable that the machine
// does not have is unknown; so is one whose contents Read did not take, see
// WithVariables.
func (e *EFI) Variable(name, guid string) Fact[Variable] {
	key := name + "-" + guid
	if v, ok := e.Variables[key]; ok {
		return v
	}
	if n := e.VariableNames; !n.Known() {
		return Fact[Variable]{State: n.State, Source: n.Source, Why: n.Why}
	}
	return unknownFact[Variable]("/"+efiDir+"/efivars/"+key, "%s", whyAbsent)
}

// HasVariable tells whether the machine has a variable, read or not.
func (e *EFI) HasVariable(name, guid string) Fact[bool] {
	n := e.VariableNames
	if !n.Known() {
		return Fact[bool]{State: n.State, Source: n.Source, Why: n.Why}
	}
	for _, have := range n.Value {
		if have == name+"-"+guid {
			return KnownFact(true, n.Source)
		}
	}
	return KnownFact(false, n.Source)
}

func wanted(key string, opts *options) bool {
	const guidLen = 36
	i := len(key) - guidLen
	if i < 2 || key[i-1] != '-' {
		return false
	}
	if opts.variables[key] {
		return true
	}
	name := key[:i-1]
	for _, w := range wantedVariables[key[i:]] {
		if name == w {
			return true
		}
		// shim splits a long list over MokListRT, MokListRT1, MokListRT2 …
		if n, ok := strings.CutPrefix(name, w); ok && strings.HasPrefix(w, "MokList") && digits(n) {
			return true
		}
	}
	return false
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func (e *EFI) readVariables(s *snapshot, opts *options) {
	const dir = efiDir + "/efivars"
	names, f := s.list(dir)
	switch {
	case f.state != Known:
		e.VariableNames = lost[[]string](f)
		e.Mounted = lost[bool](f)
		return
	case len(names) == 0:
		// The mount point is always there; firmware has variables always.
		e.VariableNames = unknownFact[[]string](f.path, "efivarfs is not mounted")
		e.Mounted = KnownFact(false, f.path)
		return
	}
	e.Mounted = KnownFact(true, f.path)
	e.VariableNames = KnownFact(names, f.path)
	e.Variables = map[string]Fact[Variable]{}
	for _, n := range names {
		if wanted(n, opts) {
			e.Variables[n] = parsed(s.read(dir+"/"+n, limitFile), ParseVariable)
		} else {
			s.mark(dir+"/"+n, false)
		}
	}
}

func readMokVariables(s *snapshot) Fact[map[string][]byte] {
	const dir = efiDir + "/mok-variables"
	names, f := s.list(dir)
	if f.state != Known {
		return lost[map[string][]byte](f)
	}
	out := map[string][]byte{}
	for _, n := range names {
		if !wanted(n+"-"+GUIDShim, &options{}) {
			s.mark(dir+"/"+n, false)
			continue
		}
		f := s.read(dir+"/"+n, limitFile)
		if f.state != Known {
			return lost[map[string][]byte](f)
		}
		out[n] = f.data
	}
	return KnownFact(out, "/"+dir)
}
