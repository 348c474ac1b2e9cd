// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"fmt"
)

// State says how much is known of a fact.
type State uint8

// The states of a fact. Unknown is the zero value.
const (
	// Unknown: the machine does not tell, or the kernel has no such file.
	Unknown State = iota
	// Known: Value holds what the machine tells.
	Known
	// NotPermitted: the machine would tell, but not this process.
	NotPermitted
)

// String returns "unknown", "known" or "not permitted".
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Known:
		return "known"
	case NotPermitted:
		return "not permitted"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText returns the text of String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Fact is one item of a Machine.
type Fact[T any] struct {
	// Value is meaningful when State is Known and the zero value otherwise.
	Value T
	// State says whether Value is known.
	State State
	// Source is the file the fact comes from, with a leading slash, seen from
	// the root of the machine.
	Source string
	// Why says why the fact is not known. Empty when it is.
	Why string
}

// Get returns the value and whether it is known.
func (f Fact[T]) Get() (T, bool) { return f.Value, f.State == Known }

// Known reports whether the fact is known.
func (f Fact[T]) Known() bool { return f.State == Known }

// Or returns the value when it is known and other when it is not.
func (f Fact[T]) Or(other T) T {
	if f.State == Known {
		return f.Value
	}
	return other
}

// MarshalJSON writes state, source and, where the fact is known, the value.
func (f Fact[T]) MarshalJSON() ([]byte, error) {
	v := struct {
		State  State  `json:"state"`
		Value  *T     `json:"value,omitempty"`
		Source string `json:"source,omitempty"`
		Why    string `json:"why,omitempty"`
	}{State: f.State, Source: f.Source, Why: f.Why}
	if f.State == Known {
		v.Value = &f.Value
	}
	return json.Marshal(v)
}

// KnownFact returns a fact that is known. Tests use it to edit a Machine.
func KnownFact[T any](v T, source string) Fact[T] {
	return Fact[T]{Value: v, State: Known, Source: source}
}

func unknownFact[T any](source, format string, args ...any) Fact[T] {
	return Fact[T]{Source: source, Why: fmt.Sprintf(format, args...)}
}

// lost turns a file that could not be read into a fact of any type.
func lost[T any](f file) Fact[T] {
	return Fact[T]{State: f.state, Source: f.path, Why: f.why}
}

// parsed turns a file into a fact by way of parse.
func parsed[T any](f file, parse func([]byte) (T, error)) Fact[T] {
	if f.state != Known {
		return lost[T](f)
	}
	v, err := parse(f.data)
	if err != nil {
		return unknownFact[T](f.path, "%v", err)
	}
	return KnownFact(v, f.path)
}
