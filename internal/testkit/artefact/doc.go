// SPDX-License-Identifier: Apache-2.0

// Package artefact keeps the tools and the real images that the tests need: Debian packages unpacked below one cache
// directory, without installing anything on the machine.
//
// In: names of Debian packages and suites (never versions), and the machine's own package mirror as /etc/apt names it.
// Out: wrappers in BIN/NAME that run a Debian 13 tool on any Debian machine, and paths of kernels, stubs, shims and firmware.
//
// The cache is ${PEEL_CACHE}, else ${XDG_CACHE_HOME}/peel, else ~/.cache/peel. Whatever is there is whole: a unit is
// unpacked beside its place and renamed into it, so an interrupted run is taken up again, and a lock keeps two runs apart.
//
// It must never write outside the cache, never touch the machine's apt or dpkg state, and never be imported by a package
// of the product; tests reach it through package testkit.
package artefact
