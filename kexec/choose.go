// SPDX-License-Identifier: Apache-2.0

package kexec

import (
	"fmt"

	"github.com/peelboot/peel/machine"
)

// Route names the system call by which a kernel is loaded.
type Route string

// The routes. RouteAuto leaves the choice to Choose.
const (
	RouteAuto     Route = "auto"
	RouteFile     Route = "file"     // kexec_file_load(2)
	RouteSegments Route = "segments" // kexec_load(2)
)

// Call returns the name of the route's system call.
func (r Route) Call() string {
	switch r {
	case RouteFile:
		return "kexec_file_load"
	case RouteSegments:
		return "kexec_load"
	}
	return "kexec"
}

// Wish says what is to be loaded, as far as it bears on the choice.
type Wish struct {
	// Route is what the operator wants; empty means RouteAuto.
	Route Route
	// NeedsSegments says why kexec_file_load cannot do it, for example "a
	// device tree is given". Empty when it can.
	NeedsSegments string
	// NeedsFile says why kexec_load cannot do it. Empty when it can.
	NeedsFile string
}

// Choice is the outcome of Choose.
type Choice struct {
	Route Route `json:"route"`
	// Reason is one sentence without a stop.
	Reason string `json:"reason"`
	// Fallback is the route to take when Route turns out to be missing
	// (ENOSYS), because the machine did not tell; empty when there is none.
	Fallback Route `json:"fallback,omitempty"`
}

// Choose picks the system call that can succeed on the machine. It is a pure
// function of its arguments. When neither can, the error wraps ErrUnsupported
// or ErrNotPermitted and tells why for each. A route the operator asked for
// is taken unless it is sure to fail.
func Choose(m *machine.Machine, w Wish) (Choice, error) {
	noFile, noSegments := fileObstacle(m, w), segmentsObstacle(m, w)
	switch w.Route {
	case RouteFile:
		if noFile != nil {
			return Choice{}, noFile.err(RouteFile)
		}
		return Choice{Route: RouteFile, Reason: "it was asked for"}, nil
	case RouteSegments:
		if noSegments != nil {
			return Choice{}, noSegments.err(RouteSegments)
		}
		return Choice{Route: RouteSegments, Reason: "it was asked for"}, nil
	case RouteAuto, "":
	default:
		return Choice{}, fmt.Errorf("%w: route %q", ErrInvalid, w.Route)
	}
	switch {
	case noFile != nil && noSegments != nil:
		return Choice{}, fmt.Errorf("%w; %w", noFile.err(RouteFile), noSegments.err(RouteSegments))
	case noFile != nil:
		return Choice{Route: RouteSegments, Reason: noFile.why}, nil
	case noSegments != nil:
		return Choice{Route: RouteFile, Reason: noSegments.why}, nil
	}
	if has := m.Kernel.KexecFileLoad; !has.Known() {
		return Choice{Route: RouteFile, Fallback: RouteSegments,
			Reason: "the running kernel places and checks the segments itself, should it have the call"}, nil
	}
	return Choice{Route: RouteFile, Reason: "the running kernel places and checks the segments itself"}, nil
}

// obstacle says why a route is sure to fail.
type obstacle struct {
	why  string
	kind error
}

func (o *obstacle) err(r Route) error { return fmt.Errorf("%w: %s: %s", o.kind, r.Call(), o.why) }

func fileObstacle(m *machine.Machine, w Wish) *obstacle {
	if has := m.Kernel.KexecFileLoad; has.Known() && !has.Value {
		return &obstacle{"the running kernel was built without kexec_file_load (" + has.Source + ")", ErrUnsupported}
	}
	if w.NeedsSegments != "" {
		return &obstacle{"kexec_file_load cannot do it: " + w.NeedsSegments, ErrUnsupported}
	}
	return nil
}

func segmentsObstacle(m *machine.Machine, w Wish) *obstacle {
	if has := m.Kernel.KexecLoad; has.Known() && !has.Value {
		return &obstacle{"the running kernel was built without kexec_load (" + has.Source + ")", ErrUnsupported}
	}
	if l := m.Security.Lockdown; l.Known() && l.Value.Locked() {
		return &obstacle{fmt.Sprintf("the kernel is locked down (%s) and refuses kexec_load", l.Value), ErrNotPermitted}
	}
	if ima := m.IMARefusesKexecLoad(); ima.Known() && ima.Value {
		return &obstacle{"IMA demands to see a signature on the kernel and refuses kexec_load", ErrNotPermitted}
	}
	if w.NeedsFile != "" {
		return &obstacle{"kexec_load cannot do it: " + w.NeedsFile, ErrUnsupported}
	}
	return nil
}
