#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds once into .cache/kube all that a cluster is made of, and prints that folder: one binary for etcd, Kubernetes and
# kubectl; CoreDNS; containerd, runc and CNI plugins from Debian's packages; three images. Needs Go, gcc and static libc.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$root/.cache/kube
version=1.34.4
coredns=1.15.0

sum=$(cat "$here/build.sh" "$here/image.py" "$here"/hyper/* | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/sum" 2>/dev/null)" = "$sum" ]; then
  echo "$out"
  exit 0
fi
go=$("$root/test/deps/go.sh")
export GOTOOLCHAIN=local CGO_ENABLED=0
mkdir -p "$out"/{bin,cni,images,debs,src}
say() { printf '  %-6s %s\n' KUBE "$*" >&2; }

hyperkube() {
  [ "$(cat "$out/src/hyperkube.sum" 2>/dev/null)" != "$version $(sha256sum <"$here/hyper/main.go")" ] || return 0
  say "Kubernetes $version (once, some 10 minutes)"
  # The module takes Kubernetes' own go.mod, so every dependency is the one it was released with; only the staging folders
  # become the published modules. `go install` refuses the replace lines.
  cd "$out/src"
  local source package minor=${version#1.} flags='-s -w'
  source=$(cd / && "$go" mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  sed -e 's,^module .*,module hyperkube,' -e "s,=> \./staging/src/k8s.io/\(.*\),=> k8s.io/\1 v0.${version#1.}," \
    "$source/go.mod" >go.mod
  cat "$source/go.sum" >go.sum
  rm -f main.go
  cp "$here/hyper/main.go" .
  export GOFLAGS='-mod=mod -buildvcs=false -trimpath'
  "$go" mod edit -require "k8s.io/kubernetes@v$version" go.mod
  # Clients refuse a server that calls itself v0.0.0.
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
    flags+=" -X $package.gitTreeState=clean -X $package.buildDate=2026-01-01T00:00:00Z"
  done
  nice -n 10 "$go" build -ldflags "$flags" -o "$out/bin/hyperkube.new" .
  mv -f "$out/bin/hyperkube.new" "$out/bin/hyperkube"
  local name
  for name in etcd kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet; do
    ln -sf hyperkube "$out/bin/$name"
  done
  echo "$version $(sha256sum <"$here/hyper/main.go")" >"$out/src/hyperkube.sum"
}

server() {
  [ ! -x "$out/src/coredns-$coredns" ] || return 0
  say "CoreDNS $coredns (once, some 5 minutes)"
  # The whole server, with the plugins of a cluster's Corefile that the one of test/coredns has not.
  (cd / && GOBIN="$out/src" nice -n 10 "$go" install -ldflags '-s -w' "github.com/coredns/coredns@v$coredns")
  mv -f "$out/src/coredns" "$out/src/coredns-$coredns"
}

runtime() {
  [ ! -x "$out/bin/runc" ] || return 0
  # Unpacked and not installed: no unit is started, no file of the machine is touched.
  cd "$out/debs"
  [ -n "$(apt-cache madison containerd)" ] || apt-get update -qq
  apt-get download -qq -o APT::Sandbox::User=root containerd runc containernetworking-plugins
  local deb
  for deb in *.deb; do dpkg-deb -x "$deb" root; done
  cp -f root/usr/bin/containerd root/usr/bin/containerd-shim-runc-v2 root/usr/bin/ctr root/usr/sbin/runc "$out/bin/"
  cp -f root/usr/lib/cni/* "$out/cni/"
  rm -r root
}

images() {
  cd "$out"
  rm -f images/*.tar bin/coredns
  gcc -Os -static -Wall -Wextra -Werror -o src/pause "$here/hyper/pause.c"
  "$here/image.py" localhost/pause:1 images/pause.tar --file src/pause:/pause --entrypoint /pause
  install -m 755 "src/coredns-$coredns" bin/coredns
  "$here/image.py" localhost/coredns:1 images/coredns.tar --file bin/coredns:/coredns --entrypoint /coredns
  # What a pod of anybody's has that knows nothing of gate64.
  local words=() name
  for name in sh cat echo sleep timeout getent curl dig ping ip head; do words+=(--program "$name"); done
  "$here/image.py" localhost/tools:1 images/tools.tar "${words[@]}" --cmd sleep --cmd infinity
}

(hyperkube)
(server)
(runtime)
(images)
echo "$sum" >"$out/sum"
echo "$out"
