#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Starts a one-node cluster with IPv6-only pods in namespaces of its own, and waits until the node is Ready and CoreDNS
# answers. Nothing of the machine is changed: no package, sysctl, device or mount.
# Usage: up.sh OUT STATE        OUT: what build.sh made; STATE: an empty folder for all that the cluster writes, on a disk
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$1" && pwd)
mkdir -p "$2"
state=$(cd "$2" && pwd)
if [ -e "$state/pid" ]; then
  echo "up.sh: $state/pid exists: a cluster runs there or was not taken down" >&2
  exit 1
fi
mkdir -p "$state/log"

setsid unshare --mount --net --pid --uts --ipc --fork --propagation private \
  bash "$here/node.sh" "$out" "$state" </dev/null >"$state/log/node.log" 2>&1 &
for _ in $(seq 600); do
  [ ! -e "$state/failed" ] || break
  [ ! -e "$state/started" ] || break
  sleep 0.2
done
if [ ! -e "$state/started" ]; then
  tail -20 "$state/log/node.log" >&2
  "$here/down.sh" "$state" --keep
  exit 1
fi

on_node() { "$here/enter.sh" "$state" "$@"; }
until on_node kubectl get node node >/dev/null 2>&1 || [ $SECONDS -gt 120 ]; do sleep 0.5; done
on_node kubectl wait --for=condition=Ready node/node --timeout=120s >/dev/null
on_node kubectl apply -f - <"$here/manifests/coredns.yaml" >/dev/null
if ! on_node kubectl -n kube-system rollout status deployment/coredns --timeout=60s >/dev/null; then
  on_node kubectl -n kube-system logs deployment/coredns >&2 || true
  exit 1
fi
printf '  %-6s %s\n' KUBE "up in $SECONDS s; on its node: ${here#"$PWD"/}/enter.sh ${state#"$PWD"/} COMMAND"
