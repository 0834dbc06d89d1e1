#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fetches Debian's kernel of a release into .cache/kernels/RELEASE, without installing anything: boot/vmlinuz-* and
# lib/modules, with modules.dep. Prints that folder. The packages come from where the machine's own apt gets Debian, with
# a package index of their own beside them.
# Usage: fetch.sh RELEASE   (bookworm, trixie, …)
set -eu

release=$1
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
place=$root/.cache/kernels/$release
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ -e "$place/complete" ]; then
  echo "$place"
  exit 0
fi
rm -rf "$place"
mkdir -p "$place/apt/lists/partial" "$place/apt/archives/partial"
log=$place/apt/log

fail() {
  [ -s "$log" ] && cat "$log" >&2
  echo "fetch.sh: $*" >&2
  exit 1
}

# The archive that holds a Debian release itself; security updates live elsewhere and are not needed here.
# shellcheck disable=SC2016 # apt's own variables
sources=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 'Component: main')
uri=$(printf '%s\n' "$sources" | sed -n 's/^Debian|Debian|//p' | head -n 1)
[ -n "$uri" ] || fail "apt knows no Debian archive here: kernels are fetched from one (is this Debian, and did 'apt-get update' run?)"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
{
  echo 'Types: deb'
  echo "URIs: $uri"
  echo "Suites: $release"
  echo 'Components: main'
  if [ -e "$keys" ]; then echo "Signed-By: $keys"; fi
} >"$place/apt/archive.sources"
: >"$place/apt/status"

private_apt() { # COMMAND…: apt with sources, index and state of its own
  command=$1
  shift
  "$command" -q \
    -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$place/apt" -o Dir::Etc::Preferences=/dev/null \
    -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State::Lists="$place/apt/lists" -o Dir::State::Status="$place/apt/status" \
    -o Dir::Cache="$place/apt" -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User=root \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false "$@"
}

printf '  %-6s %s\n' APT "the kernel of Debian $release (once, 70 to 110 MB)" >&2
private_apt apt-get update >"$log" 2>&1 || fail "cannot read the package index of '$release'"
image=$(private_apt apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$image" ] || fail "no linux-image-amd64 in '$release'"
(cd "$place/apt" && private_apt apt-get download "$image" >>"$log" 2>&1) || fail "cannot download $image"
dpkg -x "$place"/apt/linux-image-*.deb "$place"
# Releases with /usr merged have them below usr.
[ -d "$place/lib/modules" ] || mv "$place/usr/lib" "$place/lib"
rm -rf "${place:?}/usr"
depmod -b "$place" "$(ls "$place/lib/modules")"
rm -rf "$place/apt"
touch "$place/complete"
echo "$place"
