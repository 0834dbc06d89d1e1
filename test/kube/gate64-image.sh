#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes gate64's image from this checkout (run `make build` first), laid out as the Dockerfile lays it out, with the programs
# and libraries of this machine in the place of Debian's packages. Named as the manifests name it.
# Usage: gate64-image.sh OUT.tar
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
production=$root/.cache/kube/gate64
files=(package.json package-lock.json .npmrc LICENSE)

if ! cmp -s "$root/package-lock.json" "$production/installed"; then
  rm -rf "$production"
  mkdir -p "$production"
  (cd "$root" && cp "${files[@]}" "$production/")
  (cd "$production" && "$root/.tools/bin/npm" ci --omit=dev --no-progress --loglevel=error >/dev/null)
  cp "$root/package-lock.json" "$production/installed"
fi
words=(--tree "$production/node_modules:/opt/gate64/node_modules" --tree "$root/dist:/opt/gate64/dist")
for file in "${files[@]}"; do words+=(--file "$root/$file:/opt/gate64/$file"); done
# iproute2, nftables, util-linux; sh and coreutils, as far as the launcher and the manifests call them.
for name in ip ss tc nft nsenter setpriv sh readlink dirname sleep cat; do words+=(--program "$name"); done
libbpf=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p | sed -n 's/.*libbpf\.so\.1 .*=> //p' | head -n 1)
"$here/image.py" docker.io/library/gate64:0.1.0 "$1" "${words[@]}" \
  --file "$(readlink -f "$root/.tools/bin/node"):/usr/local/bin/node" \
  --file "$libbpf:$libbpf" \
  --link /opt/gate64/dist/gate64:/usr/local/bin/gate64 \
  --env NODE_ENV=production --workdir /opt/gate64 --entrypoint /opt/gate64/dist/gate64 --cmd run
