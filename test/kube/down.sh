#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ends the cluster in STATE by the process id it recorded: the first process of its PID namespace, with which the kernel ends
# every other; mounts, network namespaces and bpffs go with their last process. Then removes cgroups and data.
# Usage: down.sh STATE [--keep]         --keep leaves the logs
set -euo pipefail

state=$(cd "$1" && pwd)
if [ -s "$state/pid" ]; then
  pid=$(cat "$state/pid")
  # The start time guards against another process having got the number since.
  if [ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null || true)" = "$(cat "$state/pid-start")" ]; then
    kill -KILL "$pid"
    for _ in $(seq 300); do
      [ -e "/proc/$pid" ] || break
      sleep 0.1
    done
  fi
fi
if [ -s "$state/cgroup" ]; then
  name=$(cat "$state/cgroup")
  for _ in $(seq 50); do
    left=0
    for top in /sys/fs/cgroup/*/"$name" /sys/fs/cgroup/"$name"; do
      [ ! -d "$top" ] || find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || left=1
    done
    [ "$left" = 1 ] || break
    sleep 0.1
  done
  [ "$left" = 0 ] || {
    echo "down.sh: cgroups named $name are left" >&2
    exit 1
  }
fi
rm -rf "${state:?}"/{pid,pid-start,cgroup,bin,started,failed,containerd,kubelet,etcd,upper,work,pki,sysctl}
[ "${2:-}" = --keep ] || rm -rf "$state/log"
rmdir "$state" 2>/dev/null || true
