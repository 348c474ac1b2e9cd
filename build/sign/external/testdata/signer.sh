#!/bin/sh
# SPDX-License-Identifier: Apache-2.0

# The key's name is the path of an RSA key; jq would read JSON better.
field() { printf '%s' "$line" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
while IFS= read -r line; do
	case $(field 'do') in
	open)
		key=$(field key)
		public=$(openssl pkey -in "$key" -pubout -outform DER | base64 -w0)
		printf '{"version":1,"public":"%s"}\n' "$public"
		;;
	sign)
		signature=$(field digest | base64 -d |
			openssl pkeyutl -sign -inkey "$key" -pkeyopt "digest:$(field hash)" | base64 -w0)
		printf '{"signature":"%s"}\n' "$signature"
		;;
	*) echo '{"error":"what is that?","code":"unsupported"}' ;;
	esac
done
