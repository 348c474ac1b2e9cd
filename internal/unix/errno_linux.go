// SPDX-License-Identifier: Apache-2.0

package unix

import "golang.org/x/sys/unix"

// Errno is the error number of a failed system call, as errors.As finds it.
type Errno = unix.Errno

// Error numbers that other packages compare with errors.Is.
// Source: include/uapi/asm-generic/errno-base.h and errno.h of Linux.
const (
	EPERM         = unix.EPERM
	ENOENT        = unix.ENOENT
	EINTR         = unix.EINTR
	EIO           = unix.EIO
	E2BIG         = unix.E2BIG
	ENOEXEC       = unix.ENOEXEC
	EBADF         = unix.EBADF
	EAGAIN        = unix.EAGAIN
	ENOMEM        = unix.ENOMEM
	EACCES        = unix.EACCES
	EFAULT        = unix.EFAULT
	EBUSY         = unix.EBUSY
	EEXIST        = unix.EEXIST
	ENODEV        = unix.ENODEV
	ENOTDIR       = unix.ENOTDIR
	EISDIR        = unix.EISDIR
	EINVAL        = unix.EINVAL
	EFBIG         = unix.EFBIG
	ENOSPC        = unix.ENOSPC
	EROFS         = unix.EROFS
	ENAMETOOLONG  = unix.ENAMETOOLONG
	ENOSYS        = unix.ENOSYS
	ENODATA       = unix.ENODATA
	EOVERFLOW     = unix.EOVERFLOW
	EBADMSG       = unix.EBADMSG
	EOPNOTSUPP    = unix.EOPNOTSUPP
	EADDRNOTAVAIL = unix.EADDRNOTAVAIL
	ETXTBSY       = unix.ETXTBSY
	ENOKEY        = unix.ENOKEY
	EKEYEXPIRED   = unix.EKEYEXPIRED
	EKEYREVOKED   = unix.EKEYREVOKED
	EKEYREJECTED  = unix.EKEYREJECTED
	ENOPKG        = unix.ENOPKG
	ELIBBAD       = unix.ELIBBAD
)
