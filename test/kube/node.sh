#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The node: first process of its PID namespace. Called by up.sh inside fresh mount, net, pid, uts and ipc namespaces.
# Usage: node.sh OUT STATE
set -euo pipefail
OUT=$1 STATE=$2
# The machine's /proc is still mounted: this is the number as seen from outside.
read -r PID _ </proc/self/stat
echo "$PID" >"$STATE/pid"
cut -d' ' -f22 "/proc/$PID/stat" >"$STATE/pid-start"
echo "$OUT/bin" >"$STATE/bin"
CGROUP=kube-$PID
echo "$CGROUP" >"$STATE/cgroup"
trap 'echo "failed in line $LINENO"; touch "$STATE/failed"' ERR
export PATH=$OUT/bin:/usr/sbin:/usr/bin:/sbin:/bin

NODE6=2001:db8:1::10 NODE4=192.0.2.10 GATEWAY4=192.0.2.1 GATEWAY6=2001:db8:1::1
WEB4=198.51.100.10 DNS4=198.51.100.53
PODS=fd00:10:244::/56 POD_SUBNET=fd00:10:244::/64
SERVICES=fd00:10:96::/112 API_SERVICE=fd00:10:96::1 DNS_SERVICE=fd00:10:96::a

# --- mounts: a node's usual folders, private to this cluster -------------------------------------------------------
hostname node
mkdir -p "$STATE"/{etcd,containerd,kubelet,pki,sysctl,upper/{etc,var,opt},work/{etc,var,opt}}
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lab /run/cgroup /run/netns /run/lock
mount --bind "$STATE" /run/lab                  # STATE may lie below a folder that gets covered
for dir in etc var opt; do
  mount -t overlay overlay -o "lowerdir=/$dir,upperdir=/run/lab/upper/$dir,workdir=/run/lab/work/$dir" "/$dir"
done
mkdir -p /etc/kubernetes /etc/cni/net.d /opt/cni/bin /var/lib/containerd /var/lib/kubelet /var/lib/etcd
mount --bind /run/lab/pki /etc/kubernetes
mount --bind /run/lab/containerd /var/lib/containerd
mount --bind /run/lab/kubelet /var/lib/kubelet
mount --bind /run/lab/etcd /var/lib/etcd
mount --bind "$OUT/cni" /opt/cni/bin
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys                       # shows this network namespace's devices
mount --move /run/cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t proc proc /proc
# The kubelet wants to set these for the whole machine: let it find them set, and write to files of ours at most.
while read -r key value; do
  echo "$value" >"/run/lab/sysctl/${key##*/}"
  mount --bind "/run/lab/sysctl/${key##*/}" "/proc/sys/$key"
done <<SYSCTL
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTL
mount --make-rshared /                          # pods may ask for mount propagation
for controller in cpu cpuacct cpuset memory devices freezer blkio pids systemd hugetlb; do
  [ ! -d "/sys/fs/cgroup/$controller" ] || mkdir -p "/sys/fs/cgroup/$controller/$CGROUP"
done
for file in cpuset.cpus cpuset.mems; do
  [ ! -e "/sys/fs/cgroup/cpuset/$file" ] || cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/$CGROUP/$file"
done

# --- network: node (dual-stack) - internet (IPv4 only) ------------------------------------------------------------
ip netns add internet
in_internet() { nsenter --net=/run/netns/internet "$@"; }
ip link set lo up
ip link add eth0 type veth peer name node netns internet
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.forwarding=1
ip addr add $NODE4/24 dev eth0
ip -6 addr add $NODE6/64 dev eth0 nodad
ip link set eth0 up
in_internet sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 net.ipv4.ip_forward=1
in_internet ip link set lo up
in_internet ip addr add $GATEWAY4/24 dev node
in_internet ip link set node up
for address in $WEB4 $DNS4; do in_internet ip addr add "$address/32" dev lo; done
in_internet ip route add local 203.0.113.0/24 dev lo
ip route add default via $GATEWAY4
# Nobody is there; but the node itself reaches Services, which kube-proxy leads elsewhere, by having a route to anywhere.
ip -6 route add default via $GATEWAY6
rm -f /etc/resolv.conf; echo "nameserver $DNS4" >/etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n%s node\n' $NODE6 >/etc/hosts

mkdir -p /run/internet/www && cd /run/internet
echo 'hello from the IPv4 internet' >www/index.html
truncate -s 512M www/big
cat >zone <<ZONE
\$ORIGIN example.
@ 60 IN SOA ns hostmaster 1 60 60 60 60
@ 60 IN NS ns
ns 60 IN A $DNS4
v4only 60 IN A $WEB4
*.many 60 IN A $WEB4
dual 60 IN A $WEB4
dual 60 IN AAAA 2001:db8:ffff::10
ZONE
echo ".:53 {
  bind $DNS4
  file zone example
}" >Corefile
start() { local name=$1; shift; "$@" </dev/null >>"/run/lab/log/$name.log" 2>&1 & }
start internet-dns nsenter --net=/run/netns/internet coredns -conf Corefile
start internet-web nsenter --net=/run/netns/internet /usr/bin/python3 -m http.server --bind $WEB4 --directory www 80
cd /

# --- keys and kubeconfigs ----------------------------------------------------------------------------------------
cd /etc/kubernetes
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key 2>/dev/null || openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -subj /CN=lab-ca -days 30 -out ca.crt
openssl genrsa -out sa.key 2048 2>/dev/null && openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
certificate() { # NAME SUBJECT SAN
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
    -extfile <(printf 'keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "$3") 2>/dev/null
}
identity() { # NAME SUBJECT
  certificate "$1" "$2" "${3:-DNS:$1}"
  cat >"$1.conf" <<CONF
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: "https://[$NODE6]:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: lab, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: lab, context: {cluster: lab, user: lab}}]
CONF
}
certificate apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:node,DNS:localhost,IP:$NODE6,IP:$NODE4,IP:$API_SERVICE,IP:::1"
identity admin /O=system:masters/CN=admin
identity controller-manager /CN=system:kube-controller-manager
identity scheduler /CN=system:kube-scheduler
identity proxy /CN=system:kube-proxy
identity kubelet /O=system:nodes/CN=system:node:node "DNS:node,IP:$NODE6,IP:$NODE4"
cd /

# --- control plane -----------------------------------------------------------------------------------------------
PKI=/etc/kubernetes
start etcd etcd --data-dir=/var/lib/etcd --unsafe-no-fsync --listen-client-urls='http://[::1]:2379' --advertise-client-urls='http://[::1]:2379' \
  --listen-peer-urls='http://[::1]:2380' --initial-advertise-peer-urls='http://[::1]:2380' --initial-cluster='default=http://[::1]:2380'
start apiserver kube-apiserver --etcd-servers='http://[::1]:2379' --bind-address=:: --advertise-address=$NODE6 --secure-port=6443 \
  --service-cluster-ip-range=$SERVICES --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --client-ca-file=$PKI/ca.crt --tls-cert-file=$PKI/apiserver.crt --tls-private-key-file=$PKI/apiserver.key \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=$PKI/sa.pub --service-account-signing-key-file=$PKI/sa.key \
  --kubelet-certificate-authority=$PKI/ca.crt --kubelet-client-certificate=$PKI/admin.crt --kubelet-client-key=$PKI/admin.key

# --- container runtime and images, while the API server comes up ---------------------------------------------------
cat >/etc/cni/net.d/10-pods.conflist <<CNI
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp", "mtu": 1500,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_SUBNET"}]], "routes": [{"dst": "::/0"}]}}]}
CNI
cat >/run/containerd.toml <<CONTAINERD
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = false
CONTAINERD
start containerd containerd --config /run/containerd.toml
until ctr version >/dev/null 2>&1; do sleep 0.2; done
for image in "$OUT"/images/*.tar; do
  ctr -n k8s.io images import "$image" >>/run/lab/log/images.log 2>&1
done

# --- kubelet and the rest ----------------------------------------------------------------------------------------
cat >/run/kubelet.yaml <<KUBELET
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: "::"
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet.crt
tlsPrivateKeyFile: $PKI/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
protectKernelDefaults: false
makeIPTablesUtilChains: false
clusterDNS: ["$DNS_SERVICE"]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
syncFrequency: 10s
KUBELET
cat >/run/proxy.yaml <<PROXY
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $PKI/proxy.conf}
clusterCIDR: $PODS
hostnameOverride: node
oomScoreAdj: 0
bindAddress: "::"
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
PROXY
until kubectl --kubeconfig $PKI/admin.conf get --raw /readyz >/dev/null 2>&1; do sleep 0.3; done
start controller-manager kube-controller-manager --kubeconfig=$PKI/controller-manager.conf --leader-elect=false --bind-address=::1 \
  --allocate-node-cidrs=true --cluster-cidr=$PODS --node-cidr-mask-size-ipv6=64 --service-cluster-ip-range=$SERVICES --use-service-account-credentials=true \
  --root-ca-file=$PKI/ca.crt --service-account-private-key-file=$PKI/sa.key --cluster-signing-cert-file=$PKI/ca.crt --cluster-signing-key-file=$PKI/ca.key
start scheduler kube-scheduler --kubeconfig=$PKI/scheduler.conf --leader-elect=false --bind-address=::1
start kubelet kubelet --config=/run/kubelet.yaml --kubeconfig=$PKI/kubelet.conf --hostname-override=node --node-ip=$NODE6,$NODE4
start proxy kube-proxy --config=/run/proxy.yaml
touch /run/lab/started

# --- the first process also buries what others leave behind -------------------------------------------------------
trap - ERR
set +e
while :; do wait; sleep 1; done
