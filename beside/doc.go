// SPDX-License-Identifier: Apache-2.0

// Package beside knows what systemd's stub takes from the directories around a
// unified kernel image: addons, credentials, system and configuration
// extensions.
//
// In: the path of an image, and where the volume it lies on is mounted. Out:
// the paths of addons in the order in which they apply, and groups of files
// with the rules by which the stub packs each group into a cpio archive. The
// archives are the stub's byte for byte, so that what it measures can be
// foretold.
//
// It must never read the files it finds, nor judge them: who calls it reads
// each one once, verifies it and then packs those bytes.
//
// Source: systemd-stub(7) and src/boot/cpio.c, stub.c, util.c of systemd 257.
package beside
