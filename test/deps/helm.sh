#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the path of a helm that can render charts: one on PATH, else the one of layer.sh.
set -eu

found=$(command -v helm || true)
if [ -n "$found" ] && "$found" template --help >/dev/null 2>&1; then
  echo "$found"
  exit 0
fi
exec "$(dirname -- "$0")/layer.sh" helm
