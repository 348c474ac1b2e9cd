// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"bytes"
	"slices"
)

// Variable services (UEFI, section 8.2). Nothing leaves this process: what
// the guest sets is reported by Written.

func (f *Firmware) variable(name string, g GUID) int {
	return slices.IndexFunc(f.vars, func(v Variable) bool { return v.Name == name && v.GUID == g })
}

func (f *Firmware) getVariable(c *call) Status {
	name, g, attrAt, sizeAt, at := c.text(c.args[0]), c.guid(c.args[1]), c.args[2], c.args[3], c.args[4]
	if c.bad != nil || name == "" || sizeAt == 0 {
		return InvalidParameter
	}
	i := f.variable(name, g)
	if i < 0 {
		return NotFound
	}
	v := &f.vars[i]
	have := c.u64(sizeAt)
	c.put64(sizeAt, uint64(len(v.Data)))
	if attrAt != 0 {
		c.put32(attrAt, v.Attributes)
	}
	if have < uint64(len(v.Data)) {
		return BufferTooSmall
	}
	if len(v.Data) > 0 {
		copy(c.out(at, uint64(len(v.Data))), v.Data)
	}
	c.notef("%d bytes", len(v.Data))
	return Success
}

func (f *Firmware) nextVariable(c *call) Status {
	sizeAt, nameAt, guidAt := c.args[0], c.args[1], c.args[2]
	name, g := c.text(nameAt), c.guid(guidAt)
	have := c.u64(sizeAt)
	if c.bad != nil {
		return InvalidParameter
	}
	next := 0
	if name != "" {
		i := f.variable(name, g)
		if i < 0 {
			return InvalidParameter
		}
		next = i + 1
	}
	if next >= len(f.vars) {
		return NotFound
	}
	b := utf16z(f.vars[next].Name)
	c.put64(sizeAt, uint64(len(b)))
	if have < uint64(len(b)) {
		return BufferTooSmall
	}
	copy(c.out(nameAt, uint64(len(b))), b)
	copy(c.out(guidAt, 16), f.vars[next].GUID[:])
	return Success
}

// Attributes of variables.
const (
	varBootService   = 2
	varRuntime       = 4
	varAuthWrite     = 0x10
	varTimeAuthWrite = 0x20
	varAppend        = 0x40
)

// readOnly tells variables that state facts of the firmware (UEFI, section
// 3.3) or are changed only by signed updates.
func readOnly(name string, g GUID) bool {
	if g == guidGlobal() {
		switch name {
		case "SecureBoot", "SetupMode", "AuditMode", "DeployedMode", "VendorKeys", "SignatureSupport", "PK", "KEK":
			return true
		}
	}
	return name == "db" || name == "dbx" || name == "dbt" || name == "dbr"
}

func (f *Firmware) setVariable(c *call) Status {
	name, g, attr, size, at := c.text(c.args[0]), c.guid(c.args[1]), uint32(c.args[2]), c.args[3], c.args[4]
	if c.bad != nil || name == "" || attr&varRuntime != 0 && attr&varBootService == 0 {
		return InvalidParameter
	}
	if size > maxVariable {
		return OutOfResources
	}
	if attr&(varAuthWrite|varTimeAuthWrite) != 0 {
		return SecurityViolation
	}
	if readOnly(name, g) {
		return WriteProtected
	}
	data := bytes.Clone(c.in(at, size))
	if size == 0 {
		data = nil
	}
	if c.bad != nil {
		if size != 0 {
			return InvalidParameter
		}
		c.bad = nil
	}
	i := f.variable(name, g)
	if len(data) == 0 && attr&varAppend == 0 || attr&^varAppend == 0 {
		if i < 0 {
			return NotFound
		}
		f.vars = slices.Delete(f.vars, i, i+1)
		f.note(Variable{Name: name, GUID: g, Attributes: attr})
		return Success
	}
	if i >= 0 && attr&varAppend != 0 {
		data = append(bytes.Clone(f.vars[i].Data), data...)
	}
	used := len(data)
	for j, v := range f.vars {
		if j != i {
			used += len(v.Data)
		}
	}
	if used > maxVariables || len(data) > maxVariable || len(f.vars) > maxHandles || len(f.written) > maxHandles {
		return OutOfResources
	}
	v := Variable{name, g, attr &^ varAppend, data}
	if i >= 0 {
		f.vars[i] = v
	} else {
		f.vars = append(f.vars, v)
	}
	f.note(v)
	return Success
}

// note keeps the last value of what was written.
func (f *Firmware) note(v Variable) {
	f.written = slices.DeleteFunc(f.written, func(o Variable) bool { return o.Name == v.Name && o.GUID == v.GUID })
	f.written = append(f.written, v)
}

func (f *Firmware) queryVariables(c *call) Status {
	used := uint64(0)
	for _, v := range f.vars {
		used += uint64(len(v.Data))
	}
	c.put64(c.args[1], maxVariables)
	c.put64(c.args[2], maxVariables-min(used, maxVariables))
	c.put64(c.args[3], maxVariable)
	return Success
}
