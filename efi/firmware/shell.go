// SPDX-License-Identifier: Apache-2.0

package firmware

// EFI_SHELL_PARAMETERS_PROTOCOL (UEFI Shell Specification 2.2, section 2.3):
// the arguments that a program was called with, on the handle of the image.
// There are no files behind its standard input and outputs.

const maxArguments = 256

// shellParameters makes the protocol.
func (f *Firmware) shellParameters(args []string) (proto, error) {
	if len(args) > maxArguments {
		args = args[:maxArguments]
	}
	var pointers []byte
	for _, a := range args {
		at, err := f.newObject(BootServicesData, utf16z(a))
		if err != nil {
			return proto{}, err
		}
		pointers = le.AppendUint64(pointers, at)
	}
	list, err := f.newObject(BootServicesData, le.AppendUint64(pointers, 0))
	if err != nil {
		return proto{}, err
	}
	b := le.AppendUint64(nil, list)
	b = le.AppendUint64(b, uint64(len(args)))
	b = append(b, make([]byte, 24)...)
	at, err := f.newObject(BootServicesData, b)
	return proto{guidShellParameters(), at}, err
}
