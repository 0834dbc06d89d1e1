#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian or Ubuntu packages of the lists test/deps/packages-NAME.txt that are not there yet.
# Usage: install.sh [--check] NAME…
# A NAME can also be package:PACKAGE, installed without a look. --check installs nothing: exit 1 when something is missing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# Administration programs (ip, nft, nginx, unbound) live in sbin, which a user's PATH may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

only_check=0
if [ "${1:-}" = --check ]; then
  only_check=1
  shift
fi

present() { # CHECK: cmd:NAME or file:GLOB
  case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
    file:*)
      for file in ${1#file:}; do [ -e "$file" ] && return 0; done
      return 1
      ;;
    *)
      echo "install.sh: unknown check '$1'" >&2
      exit 2
      ;;
  esac
}

missing=''
units=''
for name in "$@"; do
  case $name in
    package:*)
      missing="$missing ${name#package:}"
      continue
      ;;
  esac
  while IFS= read -r line; do
    line=$(printf '%s' "${line%%#*}" | tr -s ' \t' ' ')
    [ -n "${line# }" ] || continue
    # Alternatives stand in the first field, joined by '|' without blanks; fields are joined by ' | '.
    package=${line%% | *}
    rest=${line#* | }
    check=${rest%% | *}
    check=${check% }
    present "$check" && continue
    missing="$missing $package"
    case $rest in *' | '*) units="$units ${rest#* | }" ;; esac
  done <"$here/packages-$name.txt"
done

[ -n "$missing" ] || exit 0
if [ "$only_check" = 1 ]; then
  echo "not installed:$missing"
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "make deps: these packages are missing and installing them needs root: run 'sudo make deps' (missing:$missing)" >&2
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  echo "make deps: no apt-get here; install by hand what is missing:$missing" >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
# Servers among them (nginx, unbound, prometheus) are only called by the tests: none of them may start on this machine.
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
ours=''
trap 'rm -f "$log" $ours' EXIT
trap 'exit 130' INT TERM
if [ ! -e "$policy" ]; then
  ours=$policy
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

apt() { # silent unless it fails
  if ! apt-get -qq "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "make deps: 'apt-get $*' failed (its words stand above)" >&2
    exit 1
  fi
}

apt update
chosen=''
for package in $missing; do
  pick=''
  for name in $(printf '%s' "$package" | tr '|' ' '); do
    # A virtual package (Ubuntu's bpftool) has no candidate of its own.
    if apt-cache policy "$name" 2>/dev/null | grep -q 'Candidate: [^(]'; then
      pick=$name
      break
    fi
  done
  if [ -z "$pick" ]; then
    echo "make deps: none of these packages is known to apt: $package (on Ubuntu, is the 'universe' component enabled?)" >&2
    exit 1
  fi
  chosen="$chosen $pick"
done
echo "  APT   $chosen"
# shellcheck disable=SC2086 # a list of names
apt install -y --no-install-recommends $chosen

if command -v systemctl >/dev/null; then
  for unit in $units; do systemctl disable --quiet "$unit" 2>/dev/null || true; done
fi
