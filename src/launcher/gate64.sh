#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# gate64's command: runs dist/lib/cli/main.js with the Node that came with this checkout or installation, from any
# working directory and through symbolic links.
set -eu

self=$(readlink -f -- "$0")
root=$(dirname -- "$(dirname -- "$self")")

# V8 lets its heap grow to several times what lives in it while questions come fast; docs/sizing.md has what these save.
set -- --no-parallel-scavenge --max-semi-space-size=8 --heap-growing-percent=40 "$root/dist/lib/cli/main.js" "$@"

# .tools/bin is where `make deps` leaves it, bin where `make install` does; exec keeps one process, so signals and
# exit codes are gate64's own.
for node in "$root/.tools/bin/node" "$root/bin/node"; do
  [ -x "$node" ] && exec "$node" "$@"
done
if command -v node >/dev/null 2>&1 &&
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 24 ? 0 : 1)'; then
  exec node "$@"
fi
echo "gate64: no Node.js 24 or newer found beside $root or on PATH; run 'make deps' in the checkout" >&2
exit 1
