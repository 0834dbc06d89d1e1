#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First program of the virtual machine: puts a writable layer in memory over the machine's root and goes on there.
# Its kernel command line has gate64.root=CHECKOUT and gate64.kernel=FOLDER.
# shellcheck shell=dash

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module" || echo "init: cannot load $module"; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=524288 host /host
mount -t tmpfs -o mode=755 store /store
mkdir /store/upper /store/work
if ! mount -t overlay -o lowerdir=/host,upperdir=/store/upper,workdir=/store/work root /root; then
  echo 'init: no root file system'
  poweroff -f
fi
read -r words </proc/cmdline
for word in $words; do
  case $word in
    gate64.root=*) checkout=${word#*=} ;;
  esac
done
umount /proc
umount /dev
exec switch_root /root /bin/sh "$checkout/test/kernels/guest.sh"
