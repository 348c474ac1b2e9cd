// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"bytes"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/efi"
	"github.com/peelboot/peel/trust"
)

// oemWords is the name of the OEM string of SMBIOS that has words for the
// command line (systemd-stub(7)).
const oemWords = "io.systemd.stub.kernel-cmdline-extra="

// judgeTables returns tables as the image's stub may see them, and extends the
// report. Stubs put words of SMBIOS behind the command line, whatever the policy
// says of command lines. So they are judged here as Prepare judges
// Additions.Firmware: refused words are left out, which the copy of the tables
// then has under a name that no stub looks for. alone leaves them out without
// asking.
func (im *Image) judgeTables(r *trust.Report, t efi.Tables, alone bool) (efi.Tables, []LeftOut) {
	b := t.SMBIOS.Structures
	if !beside.StubOf(im.info).SMBIOS || !bytes.Contains(b, []byte(oemWords)) {
		return t, nil
	}
	var left []LeftOut
	if !alone {
		err := im.allow(r, trust.RoleCmdline, File{Name: "SMBIOS", Data: allWords(b)})
		if err == nil {
			return t, nil
		}
		left = []LeftOut{{"SMBIOS", err}}
	}
	// Wherever it stands: what is no string for one reader may be one for another.
	t.SMBIOS.Structures = bytes.ReplaceAll(b, []byte(oemWords), bytes.Repeat([]byte{'-'}, len(oemWords)))
	return t, left
}

// allWords are the words of all strings of that name, of which stubs take one.
func allWords(b []byte) []byte {
	var all [][]byte
	for {
		_, rest, ok := bytes.Cut(b, []byte(oemWords))
		if !ok {
			return bytes.Join(all, []byte{' '})
		}
		words, _, _ := bytes.Cut(rest, []byte{0})
		all, b = append(all, words), rest
	}
}
