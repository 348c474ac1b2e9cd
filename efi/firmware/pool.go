// SPDX-License-Identifier: Apache-2.0

package firmware

import (
	"fmt"
	"slices"
)

// Pools. Small pieces share pages by type, cut into powers of two; large ones
// get pages of their own.

type piece struct {
	size uint64 // rounded: a power of two up to half a page, or whole pages
	t    MemoryType
}

type poolClass struct {
	t    MemoryType
	size uint64
}

const largePool = pageSize / 2

func (f *Firmware) poolAlloc(t MemoryType, size uint64) (uint64, error) {
	if len(f.pool) >= maxPools {
		return 0, fmt.Errorf("more than %d pieces of pool memory", maxPools)
	}
	if size > largePool {
		size = (size + pageSize - 1) &^ (pageSize - 1)
		at, err := f.allocate(t, size, pageSize, 0)
		if err == nil {
			f.pool[at] = piece{size, t}
		}
		return at, err
	}
	n := uint64(16)
	for n < size {
		n *= 2
	}
	k := poolClass{t, n}
	if len(f.poolFree[k]) == 0 {
		// A few pages at once keep the memory map short.
		const chunk = 4 * pageSize
		at, err := f.allocate(t, chunk, pageSize, 0)
		if err != nil {
			return 0, err
		}
		for a := at; a < at+chunk; a += n {
			f.poolFree[k] = append(f.poolFree[k], a)
		}
		slices.Reverse(f.poolFree[k])
	}
	list := f.poolFree[k]
	at := list[len(list)-1]
	f.poolFree[k] = list[:len(list)-1]
	f.pool[at] = piece{n, t}
	return at, nil
}

func (f *Firmware) allocatePool(c *call) Status {
	t, size, at := MemoryType(c.args[0]), c.args[1], c.args[2]
	if !allocatable(t) || c.out(at, 8) == nil {
		return InvalidParameter
	}
	if size > 1<<40 {
		return OutOfResources
	}
	got, err := f.poolAlloc(t, size)
	if err != nil {
		return OutOfResources
	}
	c.put64(at, got)
	c.notef("%#x", got)
	return Success
}

func (f *Firmware) freePool(c *call) Status {
	addr := c.args[0]
	p, ok := f.pool[addr]
	if !ok {
		return InvalidParameter
	}
	delete(f.pool, addr)
	if p.size > largePool {
		if err := f.freeRange(addr, p.size); err != nil {
			c.bad = err
		}
		return Success
	}
	k := poolClass{p.t, p.size}
	f.poolFree[k] = append(f.poolFree[k], addr)
	return Success
}

// newObject puts bytes into memory that the guest cannot free.
func (f *Firmware) newObject(t MemoryType, data []byte) (uint64, error) {
	size := (uint64(len(data)) + 15) &^ 15
	a := f.arena[t]
	if a == nil || a.End()-a.next < size {
		chunk := max((size+pageSize-1)&^(pageSize-1), 4*pageSize)
		at, err := f.allocate(t, chunk, pageSize, 0)
		if err != nil {
			return 0, err
		}
		r := Region{Start: at, Size: chunk, Type: t}
		f.own = append(f.own, r)
		a = &arena{r, at}
		f.arena[t] = a
	}
	at := a.next
	a.next += size
	copy(f.mem[at:a.End()], data)
	return at, nil
}

type arena struct {
	Region
	next uint64
}
