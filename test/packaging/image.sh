#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the image of the Dockerfile on base images made here, of Debian's packages and the checkout's Node, and unpacks it
# into a file tree. No image registry is asked; Debian's mirror and npm's registry are.
# Usage: image.sh STATE   (root; STATE is emptied first). Leaves STATE/rootfs and STATE/config.json.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
state=$1
base=$("$here/base.sh")
rm -rf "$state"
mkdir -p "$state/rootfs"
trap 'rm -rf "$state/storage" "$state/run"' EXIT

b() { buildah --storage-driver vfs --root "$state/storage" --runroot "$state/run" --log-level error "$@"; }

container=$(b from scratch)
b add --quiet "$container" "$base" / >/dev/null
b config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
b commit --quiet "$container" localhost/base >/dev/null
# What the node image has beside Debian's: Node and npm below /usr/local.
node=$(readlink -f "$root/.tools/bin/node")
b add --quiet --chmod 755 "$container" "$node" /usr/local/bin/node >/dev/null
npm=$(sed -n 's|.*exec [^ ]* \(.*\)/bin/npm-cli.js.*|\1|p' "$root/.tools/bin/npm")
b add --quiet "$container" "$npm" /usr/local/lib/node_modules/npm >/dev/null
b run --isolation chroot "$container" -- ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
# Where TLS is inspected on the way, the machine's own authorities are the ones to believe.
b add --quiet "$container" "${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}" /etc/ssl/certs/build.crt >/dev/null
b config --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/build.crt "$container"
b commit --quiet --rm "$container" localhost/node >/dev/null

b build --isolation chroot --pull-never --quiet --tag localhost/gate64 --build-arg NODE_IMAGE=localhost/node \
  --build-arg BASE_IMAGE=localhost/base --build-arg REVISION=test "$root" >"$state/build.log" 2>&1 ||
  {
    tail -n 40 "$state/build.log" >&2
    exit 1
  }

b inspect --type image localhost/gate64 |
  "$node" -e 'console.log(JSON.stringify(JSON.parse(fs.readFileSync(0, "utf8")).OCIv1.config))' >"$state/config.json"
container=$(b from --pull-never localhost/gate64)
cp -a "$(b mount "$container")/." "$state/rootfs/"
