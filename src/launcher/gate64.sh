#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# gate64's command: runs dist/lib/cli/main.js with the Node that came with this checkout or installation, from any
# working directory and through symbolic links.
set -eu

self=$(readlink -f -- "$0")
root=$(dirname -- "$(dirname -- "$self")")

# .tools/bin is where `make deps` leaves it, bin where `make install` does; exec keeps one process, so signals and
# exit codes are gate64's own.
for node in "$root/.tools/bin/node" "$root/bin/node"; do
  [ -x "$node" ] && exec "$node" "$root/dist/lib/cli/main.js" "$@"
done
if command -v node >/dev/null 2>&1 &&
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 24 ? 0 : 1)'; then
  exec node "$root/dist/lib/cli/main.js" "$@"
fi
echo "gate64: no Node.js 24 or newer found beside $root or on PATH; run 'make deps' in the checkout" >&2
exit 1
