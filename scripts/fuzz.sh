#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs each fuzz target of the module, one after another.
#
#	scripts/fuzz.sh [TIME [PACKAGE...]]
set -eu

time=${1:-20s}
[ $# -gt 0 ] && shift
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- ./...

for package in $(go list "$@"); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime=5x "$package"
	done
done
