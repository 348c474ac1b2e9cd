// SPDX-License-Identifier: Apache-2.0

package cpio

import "errors"

// Errors of this package. Each is wrapped with what was found and where.
var (
	// ErrNotCPIO means that there is no "070701" or "070702" where an entry
	// should begin.
	ErrNotCPIO = errors.New("not a newc cpio archive")
	// ErrTruncated means that the archive ends inside an entry or without
	// its trailer.
	ErrTruncated = errors.New("cpio archive ends early")
	// ErrHeader means that a header field is no hexadecimal number or that
	// a name is malformed.
	ErrHeader = errors.New("bad cpio header")
	// ErrPadding means that an archive does not begin at a multiple of four
	// bytes, where the kernel stops unpacking.
	ErrPadding = errors.New("misaligned cpio archive")
	// ErrChecksum means that the contents of a "070702" entry do not have
	// the sum that its header tells.
	ErrChecksum = errors.New("cpio checksum mismatch")
	// ErrEntry means that an entry cannot be written.
	ErrEntry = errors.New("cannot write cpio entry")
)

const (
	headerSize = 110
	magicNewc  = "070701"
	magicCRC   = "070702"
	trailer    = "TRAILER!!!"
	// maxName is PATH_MAX of the kernel, the final NUL included: its
	// unpacker skips entries with longer names.
	maxName = 4096
)

// Bits of Header.Mode (POSIX sys/stat.h).
const (
	ModeType    = 0o170000
	ModeSocket  = 0o140000
	ModeSymlink = 0o120000
	ModeRegular = 0o100000
	ModeBlock   = 0o060000
	ModeDir     = 0o040000
	ModeChar    = 0o020000
	ModeFIFO    = 0o010000
)

// Header describes an entry.
type Header struct {
	// Name is the path as the archive has it, without the final NUL.
	Name string
	// Mode holds type and permissions.
	Mode     uint32
	UID, GID uint32
	// MTime is in seconds since 1970.
	MTime uint32
	// Inode and NLink join hard links: all but the last entry of one inode
	// have no contents. A Writer picks the inode itself when it is 0.
	Inode, NLink uint32
	// DevMajor and DevMinor name the device the file was on.
	DevMajor, DevMinor uint32
	// RDevMajor and RDevMinor name the device that a node stands for.
	RDevMajor, RDevMinor uint32
}

// Entry is a header with its contents. For a symbolic link the contents are
// the target.
type Entry struct {
	Header
	Data []byte
	// Offset is where the entry's header begins, in bytes from the start of
	// what the Reader was given.
	Offset uint64
}
