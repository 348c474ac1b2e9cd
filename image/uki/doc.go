// SPDX-License-Identifier: Apache-2.0

// Package uki knows the sections of unified kernel images, their addons and
// their profiles.
//
// In: a PE image that package pe has checked. Out: its sections by profile,
// with the rules of the one table that build, inspect, parse, measure and
// plan share.
//
// It describes; it must never be what a boot rests on: there a parser program
// takes the image apart. It must never trust or execute anything.
//
// Sources: UAPI.5 Unified Kernel Image; systemd-stub(7); for the order of
// measurement src/fundamental/uki.h of systemd 257 and later.
package uki
