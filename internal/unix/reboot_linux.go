// SPDX-License-Identifier: Apache-2.0

package unix

import (
	"os"

	"golang.org/x/sys/unix"
)

// Commands of Reboot (uapi/linux/reboot.h).
const (
	RebootKexec    = unix.LINUX_REBOOT_CMD_KEXEC
	RebootRestart  = unix.LINUX_REBOOT_CMD_RESTART
	RebootPowerOff = unix.LINUX_REBOOT_CMD_POWER_OFF
)

// Reboot is reboot(2). With RebootKexec it starts the loaded kernel at once
// and returns only when that failed. Nothing is synchronised or unmounted.
func Reboot(cmd int) error { return os.NewSyscallError("reboot", unix.Reboot(cmd)) }

// Sync writes all file systems' changes to their devices and waits for it.
func Sync() { unix.Sync() }
