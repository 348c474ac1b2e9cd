#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the stock parsers, or another parser given by name, into DIR (obj/):
#
#	build.sh [-o DIR] [NAME.c ...]
#
#	NAME.o        the object that clang makes, without DWARF
#	NAME.lskel.o  the light skeleton that bpftool makes of it, as bytes in an
#	              ELF object: opts_data and opts_insn
#
# CLANG, LLVM_STRIP and BPFTOOL name the tools, PARSER_CFLAGS has more options. The committed objects were
# made with the ones `make generate` takes; the same tools give the same bytes
# in any directory and on any machine.
set -eu

CLANG=${CLANG:-clang}
LLVM_STRIP=${LLVM_STRIP:-llvm-strip}
BPFTOOL=${BPFTOOL:-bpftool}

here=$(cd "$(dirname "$0")" && pwd)
out=$here/obj
if [ "${1:-}" = -o ]; then
	mkdir -p "$2"
	out=$(cd "$2" && pwd)
	shift 2
fi
if [ $# -eq 0 ]; then
	cd "$here/src"
	set -- uki.c zboot.c wrapped.c envelope.c boot.c
fi

mkdir -p "$out"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# skeleton HEADER > C source: the two byte strings of a light skeleton. Old
# bpftools write `opts.data = (void *)"..."`, newer ones `static const char
# opts_data[] ... = "..."`, both with backslash-newlines inside the string.
skeleton() {
	awk '
	function start(name) { printf "const char %s[] __attribute__((aligned(8))) = ", name; on = 1 }
	!on && /opts\.data = \(void \*\)"/ { start("opts_data"); sub(/.*\(void \*\)/, "") }
	!on && /opts\.insns = \(void \*\)"/ { start("opts_insn"); sub(/.*\(void \*\)/, "") }
	!on && /const char opts_data\[\]/ { start("opts_data"); sub(/.*= */, "") }
	!on && /const char opts_insn\[\]/ { start("opts_insn"); sub(/.*= */, "") }
	on { print }
	on && /";[ \t]*$/ { on = 0 }
	' "$1"
}

for source in "$@"; do
	name=$(basename "$source" .c)
	dir=$(cd "$(dirname "$source")" && pwd)
	(
		cd "$dir"
		"$CLANG" -target bpf -mcpu=v3 -g -O2 -std=gnu11 -Wall -Wextra -Werror ${PARSER_CFLAGS:-} -I"$here/src" \
			-ffile-prefix-map="$dir"=. -ffile-prefix-map="$here/src"=. -fdebug-compilation-dir=. \
			-c "$name.c" -o "$tmp/$name.o"
	)
	"$LLVM_STRIP" -g "$tmp/$name.o" -o "$out/$name.o"
	"$BPFTOOL" gen skeleton -L "$out/$name.o" name "$name" >"$tmp/$name.h"
	skeleton "$tmp/$name.h" >"$tmp/$name.lskel.c"
	grep -c '^const char' "$tmp/$name.lskel.c" | grep -qx 2 || {
		echo "$name: no skeleton in what $BPFTOOL wrote" >&2
		exit 1
	}
	(
		cd "$tmp"
		"$CLANG" -target x86_64-linux-gnu -O2 -fdebug-compilation-dir=. -fno-ident \
			-c "$name.lskel.c" -o "$out/$name.lskel.o"
	)
	"$LLVM_STRIP" -g "$out/$name.lskel.o"
done
