// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"encoding/binary"
	"fmt"
)

var le = binary.LittleEndian

// Generation is a version of the parser ABI, as posted.
type Generation string

// The generations. GenV7 and GenLater have the same command header; GenLater
// programs use fields of the context that v7 does not have. GenPeel programs
// use those of the peel extension.
const (
	GenUnknown Generation = ""
	GenV6      Generation = "v6"
	GenV7      Generation = "v7"
	GenLater   Generation = "later"
	GenPeel    Generation = "peel"
)

// HeaderSize is the size in bytes of the command header of a generation: 8 for
// v6, 10 for all others, 0 for an unknown one.
func (g Generation) HeaderSize() int {
	switch g {
	case GenV6:
		return headerV6
	case GenV7, GenLater, GenPeel:
		return headerV7
	}
	return 0
}

const (
	headerV6 = 8
	headerV7 = 10
)

// Op is a command number as the v7 header has it. v6 programs number theirs
// differently; decodeCommand translates.
type Op uint16

// The commands. Those below OpRef are the series' own; adding OpRef to
// OpDecompress, OpCopy or OpVerifySig makes the payload a reference.
const (
	OpInvalid    Op = 0
	OpDone       Op = 1
	OpDecompress Op = 2
	OpCopy       Op = 3
	OpVerifySig  Op = 4
	OpRef        Op = 0x8000
	OpVerifyIMA  Op = 0x8040
	OpRefuse     Op = 0x8041
	OpTakeAddons Op = 0x8042
)

// Sub is a subcommand: which part a command is about.
type Sub uint16

// The subcommands. Those from SubInitrdAdd on are the extension's.
const (
	SubNone       Sub = 0
	SubKernel     Sub = 1
	SubInitrd     Sub = 2
	SubCmdline    Sub = 3
	SubInitrdAdd  Sub = 0x40
	SubCmdlineAdd Sub = 0x41
	SubUcodeAdd   Sub = 0x42
	SubDTB        Sub = 0x43
	SubOverlayAdd Sub = 0x44
	SubAddon      Sub = 0x45
	SubUname      Sub = 0x46
	SubOsrel      Sub = 0x47
	SubProfile    Sub = 0x48
	SubPCRSig     Sub = 0x49
	SubPCRPKey    Sub = 0x4a
	SubSBAT       Sub = 0x4b
	SubSplash     Sub = 0x4c
)

// Subcommands of OpRefuse.
const (
	refuseFormat Sub = 1 // the image is of another format
	refuseBroken Sub = 2 // the format is the program's own, the image is broken
)

// Bits of the pipeline_flag byte of the v7 header.
const (
	// FlagFill asks for a copy of the part among the next stage's buffers.
	FlagFill = 1 << 0
	// FlagFinal says that the kernel boots as it is (extension).
	FlagFinal = 1 << 7
)

var opNames = map[Op]string{
	OpInvalid: "INVALID", OpDone: "DONE", OpDecompress: "DECOMPRESS", OpCopy: "COPY", OpVerifySig: "VERIFY_SIG",
	OpVerifyIMA: "VERIFY_IMA", OpRefuse: "REFUSE", OpTakeAddons: "TAKE_ADDONS",
}

var subNames = map[Sub]string{
	SubKernel: "KERNEL", SubInitrd: "INITRD", SubCmdline: "CMDLINE", SubInitrdAdd: "INITRD_ADD",
	SubCmdlineAdd: "CMDLINE_ADD", SubUcodeAdd: "UCODE_ADD", SubDTB: "DTB", SubOverlayAdd: "OVERLAY_ADD",
	SubAddon: "ADDON", SubUname: "UNAME", SubOsrel: "OSREL", SubProfile: "PROFILE", SubPCRSig: "PCRSIG",
	SubPCRPKey: "PCRPKEY", SubSBAT: "SBAT", SubSplash: "SPLASH",
}

func (o Op) String() string {
	if s, ok := opNames[o]; ok {
		return s
	}
	if s, ok := opNames[o&^OpRef]; ok && o&OpRef != 0 {
		return s + "_REF"
	}
	return fmt.Sprintf("command 0x%x", uint16(o))
}

func (s Sub) String() string {
	if n, ok := subNames[s]; ok {
		return n
	}
	return fmt.Sprintf("0x%x", uint16(s))
}

// message is a decoded command buffer. payload is a view of the buffer.
type message struct {
	op      Op
	sub     Sub
	flags   uint8
	payload []byte
}

// decodeCommand decodes a command buffer of a generation. Bytes behind the
// payload are ignored, as the series does.
func decodeCommand(g Generation, b []byte) (message, error) {
	size := g.HeaderSize()
	if size == 0 {
		return message{}, fmt.Errorf("%w: %q", ErrGeneration, string(g))
	}
	if len(b) < size {
		return message{}, fmt.Errorf("%w: buffer of %d bytes, %s header of %d", ErrCommand, len(b), g, size)
	}
	var m message
	m.op = Op(le.Uint16(b))
	n := uint64(le.Uint32(b[4:]))
	if g == GenV6 {
		m.sub = Sub(le.Uint16(b[2:]))
		switch m.op {
		case 1:
			m.op = OpDecompress
		case 2:
			m.op = OpCopy
		default:
			return m, fmt.Errorf("%w: number %d in a v6 header", ErrCommand, m.op)
		}
		if m.sub < SubKernel || m.sub > SubCmdline {
			return m, fmt.Errorf("%w: subcommand %d in a v6 header", ErrCommand, m.sub)
		}
	} else {
		m.sub, m.flags = Sub(b[2]), b[3]
		if chunks := le.Uint16(b[8:]); chunks != 0 {
			return m, fmt.Errorf("%w: %s with %d chunks, none are defined", ErrCommand, m.op, chunks)
		}
	}
	if n > uint64(len(b)-size) {
		return m, fmt.Errorf("%w: %s/%s with a payload of 0x%x bytes in a buffer of 0x%x", ErrCommand, m.op, m.sub, n, len(b))
	}
	m.payload = b[size : size+int(n)]
	return m, nil
}

// messageSize is how many bytes a command takes by its header, or as many as
// there are of a header cut short.
func messageSize(g Generation, header []byte) uint64 {
	if len(header) < 8 {
		return uint64(len(header))
	}
	return uint64(g.HeaderSize()) + uint64(le.Uint32(header[4:]))
}

// refSize is the size of a reference: u16 buffer, u16 and u32 zero, u64
// offset, u64 length.
const refSize = 24

// A Ref names bytes of one of the buffers that a program was given.
type Ref struct {
	// Buffer is an index into the context's parsing_buf.
	Buffer uint16
	// Offset and Length are in bytes.
	Offset, Length uint64
}

func decodeRef(b []byte) (Ref, error) {
	if len(b) < refSize {
		return Ref{}, fmt.Errorf("%w: reference of %d bytes, needs %d", ErrCommand, len(b), refSize)
	}
	if le.Uint16(b[2:]) != 0 || le.Uint32(b[4:]) != 0 {
		return Ref{}, fmt.Errorf("%w: reference with reserved bits set", ErrCommand)
	}
	return Ref{le.Uint16(b), le.Uint64(b[8:]), le.Uint64(b[16:])}, nil
}

// resolve returns the bytes a reference names.
func (r Ref) resolve(buffers [][]byte) ([]byte, error) {
	if int(r.Buffer) >= len(buffers) {
		return nil, fmt.Errorf("%w: reference to buffer %d of %d", ErrCommand, r.Buffer, len(buffers))
	}
	b := buffers[r.Buffer]
	if r.Offset > uint64(len(b)) || r.Length > uint64(len(b))-r.Offset {
		return nil, fmt.Errorf("%w: reference 0x%x+0x%x in a buffer of 0x%x bytes", ErrCommand, r.Offset, r.Length, len(b))
	}
	return b[r.Offset : r.Offset+r.Length : r.Offset+r.Length], nil
}
