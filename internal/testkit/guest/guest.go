// SPDX-License-Identifier: Apache-2.0

// Package guest is the language between a test and the init of its virtual machine (internal/cmd/guestinit).
//
// In: a Script, put into the initramfs as ScriptPath. Out: lines on the console that begin with Marker and hold JSON.
//
// It must never depend on anything but the standard library: it is compiled into both ends.
package guest

import (
	"encoding/json"
	"strings"
)

const (
	// Marker begins each line that is meant for the test.
	Marker = "PEEL-MARKER "
	// ScriptPath is where init looks for its script.
	ScriptPath = "/peel-guest.json"
)

// Script is what a guest's init does.
type Script struct {
	// Name tells the kernels of a test apart: init reports it with the facts of the boot.
	Name string `json:"name"`
	// Modules are loaded first, in order: paths of uncompressed kernel modules.
	Modules []string `json:"modules,omitempty"`
	Steps   []Step   `json:"steps,omitempty"`
	// Show also prints each command and its output for people.
	Show bool `json:"show,omitempty"`
	// Panic ends the script with a kernel panic instead of powering off.
	Panic bool `json:"panic,omitempty"`
}

// Step is one command. Argv[0] is a path, or one of init's own commands:
//
//	@cat FILE             prints a file
//	@ls DIR               prints the names below a directory, one a line, sorted, with sizes
//	@sha256 FILE...       prints digests like sha256sum
//	@write FILE TEXT      writes a file; for /proc and /sys too
//	@copy FILE TO         writes the contents of a file to another one at once, efivarfs's immutable ones too
//	@chmod MODE FILE      sets permissions, octal
//	@mount FSTYPE DIR     mounts a file system
//	@say TEXT             prints a line for people, with Show
type Step struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
	// UID runs the command as another user.
	UID uint32 `json:"uid,omitempty"`
	// File takes the place of standard input.
	File string `json:"file,omitempty"`
}

// Message is one line for the test: exactly one field is set.
type Message struct {
	Boot   *Boot   `json:"boot,omitempty"`
	Result *Result `json:"result,omitempty"`
	// Done is the name of a script that came to its end.
	Done string `json:"done,omitempty"`
	// Error is what init itself could not do.
	Error string `json:"error,omitempty"`
}

// Boot is the facts of a boot that init reports first.
type Boot struct {
	Name       string `json:"name"`
	Cmdline    string `json:"cmdline"` // /proc/cmdline without the newline
	Release    string `json:"release"` // uname -r
	Machine    string `json:"machine"` // uname -m
	MemTotalKB uint64 `json:"memTotalKB"`
	EFI        bool   `json:"efi"`        // /sys/firmware/efi is there
	SecureBoot string `json:"secureBoot"` // "on", "off", or "" where it cannot be read
	Lockdown   string `json:"lockdown"`   // none, integrity, confidentiality; "" without lockdown
}

// Result is how a step ended.
type Result struct {
	Step   string `json:"step"`
	Status int    `json:"status"` // exit status; 128 + signal; -1 when it could not be started
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// Format is the line for a message, without a newline.
func (m Message) Format() string {
	b, err := json.Marshal(m)
	if err != nil {
		// Strings and numbers always marshal.
		b = []byte(`{"error":"marshal"}`)
	}
	return Marker + string(b)
}

// Parse finds the messages in the text of a console.
func Parse(console string) []Message {
	var out []Message
	for line := range strings.Lines(console) {
		_, text, ok := strings.Cut(line, Marker)
		if !ok {
			continue
		}
		var m Message
		if json.Unmarshal([]byte(strings.TrimSpace(text)), &m) == nil {
			out = append(out, m)
		}
	}
	return out
}
