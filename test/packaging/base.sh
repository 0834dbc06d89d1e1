#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes a bare Debian 12 as a file tree, once, and prints where it is. Asks Debian's mirror.
# Usage: base.sh [PACKAGE…]   (root; a tree of its own for each list of packages that are in it beside the bare ones)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache/packaging
tree=$cache/bare
mkdir -p "$cache"
log=$cache/base.log

quietly() {
  "$@" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    exit 1
  }
}

if [ ! -e "$tree.done" ]; then
  rm -rf "$tree"
  quietly debootstrap --variant=minbase --include=ca-certificates,libstdc++6 bookworm "$tree"
  rm -rf "$tree"/var/cache/apt/archives/*.deb
  touch "$tree.done"
fi
if [ $# -gt 0 ]; then
  name=$(printf '%s-' "$@")
  with=$cache/${name%-}
  if [ ! -e "$with.done" ]; then
    rm -rf "$with"
    cp -a "$tree" "$with"
    cp /etc/resolv.conf "$with/etc/resolv.conf"
    quietly env DEBIAN_FRONTEND=noninteractive chroot "$with" apt-get install -y --no-install-recommends "$@"
    rm -rf "$with"/var/cache/apt/archives/*.deb
    touch "$with.done"
  fi
  tree=$with
fi
echo "$tree"
