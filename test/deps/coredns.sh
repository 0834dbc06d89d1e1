#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the CoreDNS of test/coredns once into .cache/coredns and prints its path.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
binary=$root/.cache/coredns/coredns

source_sum=$(cat "$root/test/coredns/main.go" "$root/test/coredns/go.mod" "$root/test/coredns/go.sum" | sha256sum | cut -d' ' -f1)
if [ -x "$binary" ] && [ "$(cat "$binary.sum" 2>/dev/null)" = "$source_sum" ]; then
  echo "$binary"
  exit 0
fi

go=$("$root/test/deps/go.sh")
printf '  %-6s %s\n' GO 'CoreDNS for the tests (once, about a minute)' >&2
mkdir -p "$(dirname "$binary")"
cd "$root/test/coredns"
log=$binary.log
if ! GOTOOLCHAIN=local GOFLAGS='-trimpath -mod=readonly -buildvcs=false' CGO_ENABLED=0 \
  "$go" build -ldflags '-s -w' -o "$binary.new" . >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
mv -f "$binary.new" "$binary"
echo "$source_sum" >"$binary.sum"
echo "$binary"
