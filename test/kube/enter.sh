#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command on the node (its mounts, network, process list), with kubectl, ctr and the cluster's KUBECONFIG at hand.
# Standard input goes through.
# Usage: enter.sh STATE COMMAND [ARGUMENT…]     e.g. enter.sh STATE ip netns exec internet tcpdump -ni any
set -euo pipefail

state=$(cd "$1" && pwd)
shift
pid=$(cat "$state/pid")
bin=$(cat "$state/bin")
export KUBECONFIG=/etc/kubernetes/admin.conf PATH="$bin:$PATH"
[ -d "/proc/$pid/root$PWD" ] || cd /
exec nsenter --target "$pid" --mount --net --pid --uts --ipc --wdns="$PWD" -- "$@"
