// SPDX-License-Identifier: Apache-2.0

// Package eventlog reads, writes and replays the logs that tell what was
// measured into a TPM.
//
// In: bytes of a log: the firmware's crypto-agile log (or its SHA-1
// predecessor), a Canonical Event Log in JSON or CBOR, systemd's user-space
// log, the list of the kernel's integrity measurement architecture (IMA). Out:
// a Log, a list of events that can be shown, written again and replayed into
// the register values that it explains.
//
// It must never talk to a TPM, and never say that a log is true: a log is a
// claim, and only register values that its replay gives confirm it.
//
// Sources: TCG PC Client Platform Firmware Profile 1.06, section 10; TCG EFI
// Protocol Specification 1.0, section 5; TCG Canonical Event Log Format 1.1;
// security/integrity/ima/ima_fs.c of Linux.
package eventlog
