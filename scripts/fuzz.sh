#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs each fuzz target, one after another: those of the packages given, or of this module and of the module pkcs11.
#
#	scripts/fuzz.sh [TIME [PACKAGE...]]
set -eu

time=${1:-20s}
[ $# -gt 0 ] && shift
cd "$(dirname "$0")/.."

fuzz() {
	for package in "$@"; do
		for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
			echo "== $package $target"
			go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime=5x "$package"
		done
	done
}

if [ $# -gt 0 ]; then
	# shellcheck disable=SC2046 # package paths have no blanks
	fuzz $(go list "$@")
else
	# shellcheck disable=SC2046
	fuzz $(go list ./...)
	cd pkcs11
	fuzz ./serve ./uri # the others need C
fi
