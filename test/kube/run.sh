#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds what a cluster needs (once), then for each form of manifests/ starts a cluster, runs the tests in it and takes it
# down. The last line says `N passed, N failed`.
# Usage: run.sh [FORM…]   (root; forms: see forms.ts, default: all)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ "$(id -u)" != 0 ]; then
  echo "test-kube: namespaces need root: run it with sudo" >&2
  exit 1
fi
[ $# -gt 0 ] || set -- default direct helm dns-daemonset coredns-sidecar
cd "$root"
out=$("$here/build.sh")
mkdir -p "$out/images"
"$here/gate64-image.sh" "$out/images/gate64.tar"

state=''
take_down() {
  [ -z "$state" ] || "$here/down.sh" "$state" --keep || true
  state=''
}
trap take_down EXIT
trap 'exit 130' INT TERM HUP

passed=0
failed=0
for form in "$@"; do
  printf '\n== kube: %s\n' "$form"
  state=$root/.cache/kube-run/$form
  rm -rf "$state"
  "$here/up.sh" "$out" "$state"
  counts=$state/counts.json
  GATE64_KUBE_STATE=$state GATE64_KUBE_FORM=$form timeout --foreground -k 20 900 \
    .tools/bin/node node_modules/mocha/bin/mocha.js --forbid-only --bail \
    --reporter test/helpers/reporter.ts --reporter-option "counts=$counts" test/kube/cluster.test.ts || true
  if [ -s "$counts" ]; then
    passed=$((passed + $(sed 's/.*"passed":\([0-9]*\).*/\1/' "$counts")))
    failed=$((failed + $(sed 's/.*"failed":\([0-9]*\).*/\1/' "$counts")))
  else
    failed=$((failed + 1))
  fi
  take_down
done
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
