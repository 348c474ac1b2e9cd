// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

func replace(from, to int) error { return syscall.Dup2(from, to) }
