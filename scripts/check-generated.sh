#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fails when a committed BPF object is not what its source gives with the compiler of the tool cache.
set -eu

cd "$(dirname "$0")/.."
tools=$(go run ./internal/cmd/deps core)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

PATH=$tools:$PATH parser/stock/build.sh -o "$tmp"
if ! diff -rq parser/stock/obj "$tmp"; then
	echo 'The objects in parser/stock/obj differ from their sources: run make generate.' >&2
	exit 1
fi
echo "parser/stock/obj: $(find "$tmp" -name '*.o' | wc -l) objects equal their sources"
