// SPDX-License-Identifier: Apache-2.0

package firmware

import "slices"

// Configuration tables (UEFI, section 4.6 and InstallConfigurationTable in
// 7.5).

type table struct {
	guid GUID
	at   uint64
}

// setTable adds, changes or, with address 0, removes a table.
func (f *Firmware) setTable(g GUID, at uint64) Status {
	i := slices.IndexFunc(f.tables, func(t table) bool { return t.guid == g })
	switch {
	case at == 0 && i < 0:
		return NotFound
	case at == 0:
		f.tables = slices.Delete(f.tables, i, i+1)
	case i >= 0:
		f.tables[i].at = at
	case len(f.tables) >= maxTables:
		return OutOfResources
	default:
		f.tables = append(f.tables, table{g, at})
	}
	b := f.mem[f.tablesAt : f.tablesAt+maxTables*24]
	clear(b)
	for i, t := range f.tables {
		copy(b[i*24:], t.guid[:])
		le.PutUint64(b[i*24+16:], t.at)
	}
	if f.systemTable != 0 {
		st := f.mem[f.systemTable : f.systemTable+120]
		le.PutUint64(st[104:], uint64(len(f.tables)))
		le.PutUint64(st[112:], f.tablesAt)
		tableHeader(st, systemSignature)
	}
	return Success
}

// dropBootServices takes what is gone after ExitBootServices out of the system
// table (UEFI, section 7.4.6): consoles and boot services.
func (f *Firmware) dropBootServices() {
	st := f.mem[f.systemTable : f.systemTable+120]
	clear(st[40:88])
	clear(st[96:104])
	tableHeader(st, systemSignature)
}

func (f *Firmware) installTable(c *call) Status {
	g := c.guid(c.args[0])
	if c.bad != nil {
		return InvalidParameter
	}
	return f.setTable(g, c.args[1])
}

// Tables returns the configuration tables by GUID.
func (f *Firmware) Tables() map[GUID]uint64 {
	out := map[GUID]uint64{}
	for _, t := range f.tables {
		out[t.guid] = t.at
	}
	return out
}
