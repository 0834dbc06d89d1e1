#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the virtual machine once it has its root: mounts what a running system has, runs the tests, says on the
# serial console how they ended, and switches the machine off.
set -u

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs shm /dev/shm

root='' kernel=''
read -r words </proc/cmdline
for word in $words; do
  case $word in
    gate64.root=*) root=${word#*=} ;;
    gate64.kernel=*) kernel=${word#*=} ;;
  esac
done
# The kernel loads what it needs from here, through the machine's own modprobe.
mkdir -p /lib/modules
mount --bind "$kernel/lib/modules" /lib/modules
# Messages of the kernel would tear the lines of the tests apart.
echo 1 >/proc/sys/kernel/printk

cd "$root" || exit 1
test/helpers/sandbox.sh .tools/bin/node node_modules/mocha/bin/mocha.js \
  --forbid-only --no-color --reporter test/helpers/reporter.ts --reporter-option counts=/tmp/counts.json \
  test/kernels/kernel.test.ts 2>&1
status=$?
printf '\n@@ counts %s\n@@ exit %s\n' "$(cat /tmp/counts.json 2>/dev/null)" "$status"
echo o >/proc/sysrq-trigger
sleep 60
