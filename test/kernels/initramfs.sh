#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes an initramfs that only finds the way to the machine's own root, shared read-only over 9p, and hands over to
# guest.sh there. Prints its path.
# Usage: initramfs.sh KERNEL_FOLDER   (as fetch.sh prints it)
set -eu

kernel=$1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
version=$(ls "$kernel/lib/modules")
tree=$(mktemp -d "$kernel/initramfs.XXXXXX")
trap 'rm -rf "$tree"' EXIT

mkdir -p "$tree/bin" "$tree/modules" "$tree/proc" "$tree/dev" "$tree/host" "$tree/store" "$tree/root"
busybox=$(command -v busybox)
cp "$busybox" "$tree/bin/busybox"
cp "$here/init.sh" "$tree/init"

number=10
for module in virtio_pci 9pnet_virtio 9p overlay; do
  # Built-in ones print no file. Numbered in the order they have to be loaded; some come twice.
  for file in $(modprobe -d "$kernel" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'); do
    name=$(basename "$file")
    plain=${name%.xz}
    [ -z "$(find "$tree/modules" -name "*-$plain")" ] || continue
    case $name in
      *.xz) xz -dc "$file" >"$tree/modules/$number-$plain" ;;
      *) cp "$file" "$tree/modules/$number-$plain" ;;
    esac
    number=$((number + 1))
  done
done

(cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$kernel/initramfs.gz"
echo "$kernel/initramfs.gz"
