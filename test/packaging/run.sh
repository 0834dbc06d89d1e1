#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the image and the Debian package, then runs their tests in the sandbox. The last line is mocha's.
# Usage: run.sh [image|deb]   (root; default: both)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
state=$root/.output/packaging
if [ "$(id -u)" != 0 ]; then
  echo "test-packaging: a bare Debian is made and run as root: run it with sudo" >&2
  exit 1
fi
cd "$root"
mkdir -p "$state"
[ $# -gt 0 ] || set -- image deb
files=()
for part in "$@"; do
  case $part in
    image) "$here/image.sh" "$state/image" ;;
    deb)
      rm -rf "$state/deb"
      # What is there, and what it is upgraded to.
      for revision in 1 2; do REVISION=$revision manifests/debian/build.sh "$state/deb" >/dev/null; done
      "$here/base.sh" iproute2 libbpf1 nftables >"$state/deb/base"
      ;;
    *)
      echo "run.sh: there is image and deb, no $part" >&2
      exit 2
      ;;
  esac
  files+=("test/packaging/$part.test.ts")
done
exec test/helpers/sandbox.sh .tools/bin/node node_modules/mocha/bin/mocha.js --forbid-only "${files[@]}"
