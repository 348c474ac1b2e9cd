// SPDX-License-Identifier: Apache-2.0

package firmware

import "strings"

// kind says how a trace shows an argument.
type kind int

const (
	kindHex kind = iota
	kindNumber
	kindGUID
	kindText
	kindType
	kindInOut
	kindHidden
)

type param struct {
	name string
	kind kind
}

// service is a function that the guest can call.
type service struct {
	name   string
	params []param
	do     func(*Firmware, *call) Status
	// control is instead of do for what changes the flow of control.
	control func(*Firmware, CPU) error
	// value marks functions that return something else than a status; on bad
	// addresses that is 0.
	value bool
	// runtime services work after ExitBootServices.
	runtime bool
}

// params reads "name name:kind ..." with kinds n (number), g (GUID), s
// (string), t (memory type), io (value in and out), - (not shown).
func params(spec string) []param {
	kinds := map[string]kind{"": kindHex, "n": kindNumber, "g": kindGUID, "s": kindText, "t": kindType, "io": kindInOut, "-": kindHidden}
	var out []param
	for _, w := range strings.Fields(spec) {
		n, k, _ := strings.Cut(w, ":")
		out = append(out, param{n, kinds[k]})
	}
	return out
}

// bootServices are the functions of EFI_BOOT_SERVICES in their order (UEFI,
// section 4.4); "" is a reserved field.
func bootServices() []string {
	return []string{"RaiseTPL", "RestoreTPL", "AllocatePages", "FreePages", "GetMemoryMap", "AllocatePool", "FreePool",
		"CreateEvent", "SetTimer", "WaitForEvent", "SignalEvent", "CloseEvent", "CheckEvent",
		"InstallProtocolInterface", "ReinstallProtocolInterface", "UninstallProtocolInterface", "HandleProtocol", "",
		"RegisterProtocolNotify", "LocateHandle", "LocateDevicePath", "InstallConfigurationTable",
		"LoadImage", "StartImage", "Exit", "UnloadImage", "ExitBootServices", "GetNextMonotonicCount", "Stall", "SetWatchdogTimer",
		"ConnectController", "DisconnectController", "OpenProtocol", "CloseProtocol", "OpenProtocolInformation",
		"ProtocolsPerHandle", "LocateHandleBuffer", "LocateProtocol",
		"InstallMultipleProtocolInterfaces", "UninstallMultipleProtocolInterfaces", "CalculateCrc32", "CopyMem", "SetMem", "CreateEventEx"}
}

// runtimeServices are those of EFI_RUNTIME_SERVICES (UEFI, section 4.5).
func runtimeServices() []string {
	return []string{"GetTime", "SetTime", "GetWakeupTime", "SetWakeupTime", "SetVirtualAddressMap", "ConvertPointer",
		"GetVariable", "GetNextVariableName", "SetVariable", "GetNextHighMonotonicCount", "ResetSystem",
		"UpdateCapsule", "QueryCapsuleCapabilities", "QueryVariableInfo"}
}

// textOutput are those of EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL (UEFI, section
// 12.4); its mode follows.
func textOutput() []string {
	return []string{"ConOut.Reset", "ConOut.OutputString", "ConOut.TestString", "ConOut.QueryMode", "ConOut.SetMode",
		"ConOut.SetAttribute", "ConOut.ClearScreen", "ConOut.SetCursorPosition", "ConOut.EnableCursor"}
}

// fileFunctions are those of EFI_FILE_PROTOCOL revision 2 (UEFI, section
// 13.5), which follow the revision.
func fileFunctions() []string {
	return []string{"File.Open", "File.Close", "File.Delete", "File.Read", "File.Write", "File.GetPosition", "File.SetPosition",
		"File.GetInfo", "File.SetInfo", "File.Flush", "File.OpenEx", "File.ReadEx", "File.WriteEx", "File.FlushEx"}
}

// answer is a service that always says the same.
func answer(s Status) func(*Firmware, *call) Status {
	return func(*Firmware, *call) Status { return s }
}

// allServices returns every service that is a trap, each at its slot.
func allServices() []service {
	s := []service{
		{name: "return of an image", control: (*Firmware).imageReturned, runtime: true},
		{name: "return of a protocol", control: (*Firmware).calloutReturned},

		{name: "AllocatePages", params: params("type:n memory:t pages:n address:io"), do: (*Firmware).allocatePages},
		{name: "FreePages", params: params("address pages:n"), do: (*Firmware).freePages},
		{name: "GetMemoryMap", params: params("size:io map key:- descriptor:- version:-"), do: (*Firmware).getMemoryMap},
		{name: "AllocatePool", params: params("memory:t size buffer:-"), do: (*Firmware).allocatePool},
		{name: "FreePool", params: params("buffer"), do: (*Firmware).freePool},

		{name: "CreateEvent", params: params("type tpl function context event:-"), do: (*Firmware).createEvent},
		{name: "CreateEventEx", params: params("type tpl function context group:g event:-"), do: (*Firmware).createEventEx},
		{name: "SetTimer", params: params("event type:n time:n"), do: (*Firmware).setTimer},
		{name: "WaitForEvent", params: params("count:n events index:-"), do: (*Firmware).waitForEvent},
		{name: "SignalEvent", params: params("event"), do: (*Firmware).signalEvent},
		{name: "CloseEvent", params: params("event"), do: (*Firmware).closeEvent},
		{name: "CheckEvent", params: params("event"), do: (*Firmware).checkEvent},

		{name: "InstallProtocolInterface", params: params("handle:io protocol:g type:n interface"), do: (*Firmware).installProtocol},
		{name: "ReinstallProtocolInterface", params: params("handle protocol:g old new"), do: (*Firmware).reinstallProtocol},
		{name: "UninstallProtocolInterface", params: params("handle protocol:g interface"), do: (*Firmware).uninstallProtocol},
		{name: "HandleProtocol", params: params("handle protocol:g interface:-"), do: (*Firmware).handleProtocol},
		{name: "RegisterProtocolNotify", params: params("protocol:g event registration:-"), do: (*Firmware).registerNotify},
		{name: "LocateHandle", params: params("type:n protocol:g key size:io buffer"), do: (*Firmware).locateHandle},
		{name: "LocateDevicePath", params: params("protocol:g path:io device:-"), do: (*Firmware).locateDevicePath},
		{name: "InstallConfigurationTable", params: params("guid:g table"), do: (*Firmware).installTable},
		{name: "LoadImage", params: params("policy:n parent path source size handle:-"), do: (*Firmware).loadImage},
		{name: "StartImage", control: (*Firmware).startImage},
		{name: "Exit", control: (*Firmware).exit},
		{name: "UnloadImage", params: params("handle"), do: (*Firmware).unloadImage},
		{name: "ExitBootServices", params: params("handle key:n"), do: (*Firmware).exitBootServices},
		{name: "GetNextMonotonicCount", params: params("count"), do: (*Firmware).nextMonotonic},
		{name: "Stall", params: params("microseconds:n"), do: (*Firmware).stall},
		{name: "SetWatchdogTimer", params: params("seconds:n code size data"), do: answer(Success)},
		{name: "ConnectController", params: params("controller drivers path recursive"), do: (*Firmware).knownHandle},
		{name: "DisconnectController", params: params("controller driver child"), do: (*Firmware).knownHandle},
		{name: "OpenProtocol", params: params("handle protocol:g interface agent controller attributes"), do: (*Firmware).openProtocol},
		{name: "CloseProtocol", params: params("handle protocol:g agent controller"), do: (*Firmware).closeProtocol},
		{name: "OpenProtocolInformation", params: params("handle protocol:g entries:- count:-"), do: (*Firmware).openInformation},
		{name: "ProtocolsPerHandle", params: params("handle buffer count"), do: (*Firmware).protocolsPerHandle},
		{name: "LocateHandleBuffer", params: params("type:n protocol:g key count:- buffer:-"), do: (*Firmware).locateHandleBuffer},
		{name: "LocateProtocol", params: params("protocol:g registration interface:-"), do: (*Firmware).locateProtocol},
		{name: "InstallMultipleProtocolInterfaces", params: params("handle:io"), do: (*Firmware).installMultiple},
		{name: "UninstallMultipleProtocolInterfaces", params: params("handle"), do: (*Firmware).uninstallMultiple},

		{name: "GetTime", params: params("time capabilities"), do: (*Firmware).getTime, runtime: true},
		{name: "SetTime", params: params("time"), do: answer(Unsupported), runtime: true},
		{name: "GetWakeupTime", params: params("enabled pending time"), do: answer(Unsupported), runtime: true},
		{name: "SetWakeupTime", params: params("enable time"), do: answer(Unsupported), runtime: true},
		{name: "SetVirtualAddressMap", params: params("size descriptor version map"), do: answer(Unsupported), runtime: true},
		{name: "ConvertPointer", params: params("disposition address"), do: answer(Unsupported), runtime: true},
		{name: "GetVariable", params: params("name:s vendor:g attributes:- size:io data"), do: (*Firmware).getVariable, runtime: true},
		{name: "GetNextVariableName", params: params("size:io name:s vendor:g"), do: (*Firmware).nextVariable, runtime: true},
		{name: "SetVariable", params: params("name:s vendor:g attributes size:n data"), do: (*Firmware).setVariable, runtime: true},
		{name: "GetNextHighMonotonicCount", params: params("count"), do: answer(Unsupported), runtime: true},
		{name: "ResetSystem", control: (*Firmware).resetSystem, runtime: true},
		{name: "UpdateCapsule", params: params("capsules count list"), do: answer(Unsupported), runtime: true},
		{name: "QueryCapsuleCapabilities", params: params("capsules count size reset"), do: answer(Unsupported), runtime: true},
		{name: "QueryVariableInfo", params: params("attributes maximum remaining largest"), do: (*Firmware).queryVariables, runtime: true},

		{name: "ConOut.Reset", params: params("this extended"), do: answer(Success)},
		{name: "ConOut.OutputString", params: params("this:- text:s"), do: (*Firmware).outputString},
		{name: "ConOut.TestString", params: params("this:- text:s"), do: answer(Success)},
		{name: "ConOut.QueryMode", params: params("this:- mode:n columns rows"), do: (*Firmware).queryMode},
		{name: "ConOut.SetMode", params: params("this:- mode:n"), do: (*Firmware).setMode},
		{name: "ConOut.SetAttribute", params: params("this:- attribute"), do: answer(Success)},
		{name: "ConOut.ClearScreen", params: params("this:-"), do: answer(Success)},
		{name: "ConOut.SetCursorPosition", params: params("this:- column:n row:n"), do: answer(Success)},
		{name: "ConOut.EnableCursor", params: params("this:- visible:n"), do: answer(Success)},
		{name: "ConIn.Reset", params: params("this extended"), do: answer(Success)},
		{name: "ConIn.ReadKeyStroke", params: params("this key"), do: answer(NotReady)},

		{name: "RNG.GetInfo", params: params("this:- size:io list"), do: (*Firmware).rngInfo},
		{name: "RNG.GetRNG", params: params("this:- algorithm size:n value"), do: (*Firmware).rngGet},
		{name: "LoadFile2.LoadFile", params: params("this:- path policy:n size:io buffer"), do: (*Firmware).loadFile},
		{name: "MemoryAttribute.Get", params: params("this:- base length attributes:-"), do: (*Firmware).getAttributes},
		{name: "MemoryAttribute.Set", params: params("this:- base length attributes"), do: (*Firmware).setAttributes},
		{name: "MemoryAttribute.Clear", params: params("this:- base length attributes"), do: (*Firmware).clearAttributes},

		{name: "DevicePathToText.Node", params: params("node display:n shortcuts:n"), do: (*Firmware).nodeToText, value: true},
		{name: "DevicePathToText.Path", params: params("path display:n shortcuts:n"), do: (*Firmware).pathToText, value: true},
		{name: "DevicePathFromText.Node", params: params("text:s"), do: (*Firmware).textToNode, value: true},
		{name: "DevicePathFromText.Path", params: params("text:s"), do: (*Firmware).textToPath, value: true},
		{name: "Collation.StriColl", params: params("this:- first:s second:s"), do: (*Firmware).collate, value: true},
		{name: "Collation.MetaiMatch", params: params("this:- text:s pattern:s"), do: (*Firmware).metaMatch, value: true},
		{name: "Collation.StrLwr", params: params("this:- text:s"), do: (*Firmware).lower, value: true},
		{name: "Collation.StrUpr", params: params("this:- text:s"), do: (*Firmware).upper, value: true},
		{name: "Collation.FatToStr", params: params("this:- size:n fat text"), do: (*Firmware).fatToStr, value: true},
		{name: "Collation.StrToFat", params: params("this:- text:s size:n fat"), do: (*Firmware).strToFat, value: true},
		{name: "DTFixup.Fixup", params: params("this:- tree size:io flags"), do: (*Firmware).fixTree},

		{name: "SMBIOS.Add", params: params("this:- producer handle record"), do: answer(Unsupported)},
		{name: "SMBIOS.UpdateString", params: params("this:- handle number text"), do: answer(Unsupported)},
		{name: "SMBIOS.Remove", params: params("this:- handle"), do: answer(Unsupported)},
		{name: "SMBIOS.GetNext", params: params("this:- handle type record producer"), do: (*Firmware).smbiosNext},

		{name: "SimpleFileSystem.OpenVolume", params: params("this:- root:-"), do: (*Firmware).openVolume},
		{name: "File.Open", params: params("this handle:- name:s mode attributes"), do: (*Firmware).fileOpen},
		{name: "File.Close", params: params("this"), do: (*Firmware).fileClose},
		{name: "File.Delete", params: params("this"), do: (*Firmware).fileDelete},
		{name: "File.Read", params: params("this size:io buffer"), do: (*Firmware).fileRead},
		{name: "File.Write", params: params("this size:io buffer"), do: answer(WriteProtected)},
		{name: "File.GetPosition", params: params("this position"), do: (*Firmware).fileTell},
		{name: "File.SetPosition", params: params("this position"), do: (*Firmware).fileSeek},
		{name: "File.GetInfo", params: params("this type:g size:io buffer"), do: (*Firmware).fileInfo},
		{name: "File.SetInfo", params: params("this type:g size buffer"), do: answer(WriteProtected)},
		{name: "File.Flush", params: params("this"), do: answer(Success)},
		{name: "File.OpenEx", params: params("this handle name mode attributes token"), do: answer(Unsupported)},
		{name: "File.ReadEx", params: params("this token"), do: answer(Unsupported)},
		{name: "File.WriteEx", params: params("this token"), do: answer(Unsupported)},
		{name: "File.FlushEx", params: params("this token"), do: answer(Unsupported)},
	}
	return append(s, measuringServices()...)
}
