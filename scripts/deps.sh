#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Brings the tools and real images that the tests need into the tool cache and prints the directory of the tools.
#
#	scripts/deps.sh [core] [long]
#
# Nothing is installed on the machine; internal/testkit/README.md tells what there is.
set -eu

cd "$(dirname "$0")/.."
exec go run ./internal/cmd/deps "$@"
