#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Asks the verifier of the running kernel what it thinks of the stock parsers,
# or of others given by name:
#
#	verify.sh [NAME.c ...]
#
# Needs root, CAP_BPF and a mounted bpffs. Nothing is attached, and what was
# loaded is removed at once. docs/parser-abi.md, "Would the stock programs load
# in a kernel?", says what this shows and what it does not.
set -eu

CLANG=${CLANG:-clang}
BPFTOOL=${BPFTOOL:-bpftool}

here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- "$here"/src/*.c
tmp=$(mktemp -d)
pin=/sys/fs/bpf/peel_verify_$$
trap 'rm -rf "$tmp" "$pin"' EXIT
bad=0

for source in "$@"; do
	for refs in 0 1; do
		"$CLANG" -target bpf -mcpu=v3 -g -O2 -std=gnu11 -I"$here/src" -DPEEL_VERIFY=$refs \
			-DPEEL_RECORD='(60u << 20)' -DPEEL_RING='(64u << 20)' -c "$source" -o "$tmp/program.o"
		verdict=refused
		if "$BPFTOOL" -d prog load "$tmp/program.o" "$pin" >"$tmp/log" 2>&1; then
			verdict=accepted
			rm -f "$pin"
		else
			bad=1
		fi
		how=copies
		[ $refs = 1 ] && how=references
		echo "$(basename "$source") by $how: $verdict, $(grep -a '^processed' "$tmp/log" | tail -n 1 | cut -d' ' -f2) instructions processed"
		[ $verdict = accepted ] || tail -n 20 "$tmp/log"
	done
done
exit $bad
