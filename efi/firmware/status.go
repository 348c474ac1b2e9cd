// SPDX-License-Identifier: Apache-2.0

package firmware

import "fmt"

// Status is an EFI_STATUS (UEFI, appendix D).
type Status uint64

const errorBit = 1 << 63

// Status codes used here.
const (
	Success           Status = 0
	LoadError         Status = errorBit | 1
	InvalidParameter  Status = errorBit | 2
	Unsupported       Status = errorBit | 3
	BadBufferSize     Status = errorBit | 4
	BufferTooSmall    Status = errorBit | 5
	NotReady          Status = errorBit | 6
	DeviceError       Status = errorBit | 7
	WriteProtected    Status = errorBit | 8
	OutOfResources    Status = errorBit | 9
	VolumeFull        Status = errorBit | 11
	NotFound          Status = errorBit | 14
	AccessDenied      Status = errorBit | 15
	NoMapping         Status = errorBit | 17
	AlreadyStarted    Status = errorBit | 20
	Aborted           Status = errorBit | 21
	EndOfFile         Status = errorBit | 31
	SecurityViolation Status = errorBit | 26
)

// IsError tells an error from success and warnings.
func (s Status) IsError() bool { return s&errorBit != 0 }

func (s Status) String() string {
	names := map[Status]string{
		Success: "SUCCESS", LoadError: "LOAD_ERROR", InvalidParameter: "INVALID_PARAMETER", Unsupported: "UNSUPPORTED",
		BadBufferSize: "BAD_BUFFER_SIZE", BufferTooSmall: "BUFFER_TOO_SMALL", NotReady: "NOT_READY", DeviceError: "DEVICE_ERROR",
		WriteProtected: "WRITE_PROTECTED", OutOfResources: "OUT_OF_RESOURCES", VolumeFull: "VOLUME_FULL", NotFound: "NOT_FOUND", AccessDenied: "ACCESS_DENIED",
		AlreadyStarted: "ALREADY_STARTED", Aborted: "ABORTED", NoMapping: "NO_MAPPING", EndOfFile: "END_OF_FILE", SecurityViolation: "SECURITY_VIOLATION",
	}
	if n, ok := names[s]; ok {
		return n
	}
	if s.IsError() {
		return fmt.Sprintf("error %d", uint64(s&^errorBit))
	}
	return fmt.Sprintf("warning %d", uint64(s))
}
