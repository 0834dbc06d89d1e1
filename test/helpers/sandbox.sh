#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a command where it can make namespaces, devices, pins and processes that nobody else meets and that are gone when
# it ends, even killed: own mount, network and process namespaces, a fresh /run (gate64's state file, /run/netns) and a
# fresh /sys/fs/bpf.
# Usage: sandbox.sh COMMAND [ARGUMENT…]   (root)
set -eu

if [ "${GATE64_SANDBOX_STEP:-}" != inside ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "sandbox.sh: namespaces need root: run it with sudo" >&2
    exit 1
  fi
  # As process 1 of its own namespace the shell takes every child with it; --kill-child takes the shell with the caller.
  GATE64_SANDBOX_STEP=inside exec unshare --mount --net --pid --fork --kill-child --mount-proc -- "$0" "$@"
fi

unset GATE64_SANDBOX_STEP
# Tests that change their network namespace refuse to run without this.
export GATE64_SANDBOX=1
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# The old /sys still shows the machine's devices; this one shows those of the new network namespace.
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns
# Scratch files go with the mount as well, however this ends.
mkdir -m 1777 /run/scratch
export TMPDIR=/run/scratch
ip link set lo up

# Not exec: process 1 gets no signal that it does not handle, and a test's orphans are its to reap.
"$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT HUP
status=0
wait "$child" || status=$?
# A trapped signal ends the first wait early; the second has the command's own status.
if kill -0 "$child" 2>/dev/null; then
  status=0
  wait "$child" || status=$?
fi
exit "$status"
