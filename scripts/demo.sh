#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The main path of peel, to watch: a signed unified kernel image is made, and in a virtual machine a running Debian kernel
# verifies it, takes it apart and starts the kernel inside by kexec. Nothing outside the tool cache and a temporary
# directory is touched; QEMU emulates the processor, so no privilege is needed.
set -euo pipefail

cd "$(dirname "$0")/.."
cache=$(dirname "$(go run ./internal/cmd/deps core)")
export PATH=$cache/bin:$PATH
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

bold=$'\e[1m' plain=$'\e[0m'
colour='s/^//'
[ -t 1 ] || { bold='' plain='' colour=$'s/\e\\[[0-9;]*m//g'; }
tell() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
run() { printf '%s$ %s%s\n' "$bold" "${*//$tmp\//}" "$plain" && "$@"; }

# pack DIR ARCHIVE: an initramfs, as bootable as any.
pack() { (cd "$1" && find . -print | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -1) >"$2"; }

tell 'Building peel, and an init for the virtual machine: two static Go programs.'
export CGO_ENABLED=0 GOOS=linux GOARCH=amd64
mkdir -p "$tmp"/first/{bin,boot,keys} "$tmp/second"
go build -trimpath -ldflags '-s -w' -o "$tmp/first/bin/peel" ./cmd/peel
go build -trimpath -ldflags '-s -w' -o "$tmp/second/init" ./internal/cmd/guestinit
cp "$tmp/second/init" "$tmp/first/init"

tell "A unified kernel image: systemd's stub, Debian's kernel, an initrd and a command line in one signed EFI program."
cat >"$tmp/second/peel-guest.json" <<'SCRIPT'
{"name": "second", "show": true, "steps": [
  {"name": "hello", "argv": ["@say", "Hello from the second kernel. This is /init out of the UKI's own initrd."]},
  {"name": "cmdline", "argv": ["@cat", "/proc/cmdline"]},
  {"name": "version", "argv": ["@cat", "/proc/version"]}
]}
SCRIPT
pack "$tmp/second" "$tmp/initrd"
kernel=$(echo "$cache"/unit/kernel-amd64-6.12/boot/vmlinuz-*)
stub=$cache/unit/systemd-efi-trixie-amd64/usr/lib/systemd/boot/efi/linuxx64.efi.stub
run openssl req -x509 -newkey rsa:2048 -nodes -subj '/CN=Demo signing key' -days 30 \
	-keyout "$tmp/db.key" -out "$tmp/db.pem" 2>/dev/null
run ukify build --linux="$kernel" --initrd="$tmp/initrd" --stub="$stub" --os-release='ID=demo' --uname=demo \
	--cmdline='console=ttyS0 quiet panic=-1 peel.demo=hello' --output="$tmp/unsigned.efi"
run sbsign --key "$tmp/db.key" --cert "$tmp/db.pem" --output "$tmp/linux.efi" "$tmp/unsigned.efi" 2>/dev/null
# A copy with one byte changed, in the middle of the kernel.
cp "$tmp/linux.efi" "$tmp/flipped.efi"
printf '\xa5' | dd of="$tmp/flipped.efi" bs=1 seek=5000000 conv=notrunc status=none
echo "linux.efi: $(stat -c %s "$tmp/linux.efi") bytes"

cp "$tmp/linux.efi" "$tmp/flipped.efi" "$tmp/first/boot/"
cp "$tmp/db.pem" "$tmp/first/keys/"
cat >"$tmp/first/peel-guest.json" <<'SCRIPT'
{"name": "first", "show": true, "steps": [
  {"name": "inspect", "argv": ["/bin/peel", "inspect", "/boot/linux.efi"]},
  {"name": "flipped", "argv": ["/bin/peel", "verify", "--cert", "/keys/db.pem", "/boot/flipped.efi"]},
  {"name": "verify", "argv": ["/bin/peel", "verify", "--cert", "/keys/db.pem", "/boot/linux.efi"]},
  {"name": "load", "argv": ["/bin/peel", "load", "--cert", "/keys/db.pem", "/boot/linux.efi"]},
  {"name": "status", "argv": ["/bin/peel", "status"]},
  {"name": "exec", "argv": ["/bin/peel", "exec"]}
]}
SCRIPT
pack "$tmp/first" "$tmp/first.cpio.gz"

tell 'A virtual machine boots a Debian kernel. In it, peel looks at the image, refuses the one with a byte changed,'
printf '   verifies the other, lets a BPF program take it apart, loads what was inside, and starts it.\n'
timeout 300 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
	-machine q35,accel=tcg -m 1024 -serial stdio \
	-kernel "$kernel" -initrd "$tmp/first.cpio.gz" -append 'console=ttyS0 quiet panic=-1' </dev/null |
	tee "$tmp/console" | tr -d '\r' | sed -u -e '/^PEEL-MARKER/d' -e "$colour" | cat -s

grep -q 'PEEL-MARKER {"done":"second"}' "$tmp/console" || { tell 'The second kernel did not answer.'; exit 1; }
grep -q 'PEEL-MARKER.*"step":"flipped","status":3' "$tmp/console" || { tell 'The changed image was not refused.'; exit 1; }
tell 'Done: the second kernel answered from the initrd inside the signed image.'
