#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# peel beside the programs that people use instead, on the same real images, as ratios: whole runs of the command on a
# signed UKI of about 100 MiB, and each decoder beside its tool on a real kernel.
set -euo pipefail

cd "$(dirname "$0")/.."
tools=$(go run ./internal/cmd/deps core)
export PATH=$tools:$PATH
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

CGO_ENABLED=0 go build -trimpath -o "$tmp/peel" ./cmd/peel
go run ./internal/cmd/benchpeers -peel "$tmp/peel"
echo
# An uncompressed kernel, as arm64 ships it.
image=$(echo "$(dirname "$tools")"/unit/kernel-arm64-6.12/boot/vmlinuz-*)
go run ./internal/cmd/benchcodecs -input "$image" -branch --arm64
echo
# Instructions per second, beside the interpreter of DPDK.
go run ./internal/cmd/benchbpf
