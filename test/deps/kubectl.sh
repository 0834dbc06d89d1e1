#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the path of a kubectl that can render kustomizations: one on PATH, else the one of layer.sh.
set -eu

# A kubectl on PATH may be a stub that starts nothing, or too old to know the subcommand.
found=$(command -v kubectl || true)
if [ -n "$found" ] && "$found" kustomize --help >/dev/null 2>&1; then
  echo "$found"
  exit 0
fi
exec "$(dirname -- "$0")/layer.sh" kubectl
