#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Packs what `make install` installs, with a Node of its own, as a Debian package; prints its path. Run by `make deb`.
# Usage: build.sh OUTPUT   (a folder). REVISION: Debian's part of the version, 1 unless set.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
output=$1
version=$("$root/.tools/bin/node" -p "require('$root/package.json').version")-${REVISION:-1}
architecture=$(dpkg --print-architecture)
mkdir -p "$output"
tree=$(mktemp -d "$output/tree.XXXXXX")
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
umask 022

make -C "$root" --no-print-directory install DESTDIR="$tree" PREFIX=/usr UNITDIR=/lib/systemd/system >&2
# Also where the checkout only points to a Node of the machine.
node=$(readlink -f "$root/.tools/bin/node")
rm -f "$tree/usr/lib/gate64/bin/node"
install -m 755 "$node" "$tree/usr/lib/gate64/bin/node"
strip --strip-unneeded "$tree/usr/lib/gate64/bin/node"

# Of packages what runs: their own tests, pages and programs serve nobody here, nor does the library for musl.
modules=$tree/usr/lib/gate64/node_modules
rm -rf "$modules"/@koromix/*/musl_* "$modules"/.bin "$modules"/.package-lock.json
find "$modules" \( -name '.npmignore' -o -name '.gitattributes' -o -name '.github' -o -name '*.html' \) -prune -exec rm -rf {} +
find "$modules" -path '*/node_modules/*/test' -prune -exec rm -rf {} +
find "$modules" -type f -exec chmod a-x {} +

install -D -m 644 "$here/gate64.yaml" "$tree/etc/gate64/gate64.yaml"
install -D -m 644 "$here/lintian-overrides" "$tree/usr/share/lintian/overrides/gate64"
doc=$tree/usr/share/doc/gate64
install -D -m 644 "$here/copyright" "$doc/copyright"
gzip -9n <"$root/CHANGELOG.md" >"$doc/changelog.gz"
printf 'gate64 (%s) unstable; urgency=medium\n\n  * Changes: changelog.gz.\n\n -- gate64 maintainers <maintainers@gate64.invalid>  %s\n' \
  "$version" "$(date -R -d "@${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}")" | gzip -9n >"$doc/changelog.Debian.gz"
chmod -R u+rwX,go+rX,go-w "$tree"

install -d "$tree/DEBIAN"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$tree/DEBIAN/"
echo /etc/gate64/gate64.yaml >"$tree/DEBIAN/conffiles"
size=$(du -sk --exclude=DEBIAN "$tree" | cut -f 1)
sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/" "$here/control.in" >"$tree/DEBIAN/control"
(cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"

package=$output/gate64_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz -z1 --build "$tree" "$package" >/dev/null
echo "$package"
