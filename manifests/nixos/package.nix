# SPDX-License-Identifier: Apache-2.0
# gate64 from the checkout. The lock file has checksums and no addresses, so npm fetches in a derivation of fixed output:
# build once, and set `modulesHash` to what Nix says it got (it is another for each architecture).
{
  lib,
  stdenv,
  cacert,
  clang,
  iproute2,
  libbpf,
  linuxHeaders,
  llvm,
  makeWrapper,
  nftables,
  nodejs_24,
  util-linux,
  modulesHash ? lib.fakeHash,
}:
let
  version = (builtins.fromJSON (builtins.readFile ../../package.json)).version;
  modules = stdenv.mkDerivation {
    pname = "gate64-modules";
    inherit version;
    src = lib.fileset.toSource {
      root = ../..;
      fileset = lib.fileset.unions [
        ../../package.json
        ../../package-lock.json
        ../../.npmrc
      ];
    };
    nativeBuildInputs = [
      nodejs_24
      cacert
    ];
    buildPhase = "HOME=$TMPDIR npm ci --ignore-scripts --no-progress";
    installPhase = "mv node_modules $out";
    dontFixup = true;
    outputHashMode = "recursive";
    outputHash = modulesHash;
  };
in
stdenv.mkDerivation {
  pname = "gate64";
  inherit version;
  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../Makefile
      ../../bpf
      ../../docs
      ../../package.json
      ../../package-lock.json
      ../../src
      ../../tsconfig.json
      ../../LICENSE
      ../../README.md
    ];
  };
  nativeBuildInputs = [
    clang.cc
    llvm
    makeWrapper
    nodejs_24
  ];
  # The BPF target knows none of the host's compiler flags.
  hardeningDisable = [ "all" ];
  NIX_CFLAGS_COMPILE = "";
  buildPhase = ''
    cp -R ${modules} node_modules
    chmod -R u+w node_modules
    touch node_modules/.package-lock.json
    mkdir -p .tools/bin
    ln -s ${nodejs_24}/bin/node ${nodejs_24}/bin/npm .tools/bin/
    make build SHELL=$SHELL CLANG_BPF_SYS_INCLUDES="-idirafter ${libbpf}/include -idirafter ${linuxHeaders}/include"
  '';
  installPhase = ''
    mkdir -p $out/lib/gate64 $out/bin
    npm prune --omit=dev --offline --ignore-scripts
    cp -R dist node_modules package.json docs README.md LICENSE $out/lib/gate64/
    makeWrapper ${nodejs_24}/bin/node $out/bin/gate64 \
      --add-flags "--no-parallel-scavenge --max-semi-space-size=8 --heap-growing-percent=40 $out/lib/gate64/dist/lib/cli/main.js" \
      --prefix PATH : ${
        lib.makeBinPath [
          iproute2
          nftables
          util-linux
        ]
      } \
      --prefix LD_LIBRARY_PATH : ${lib.makeLibraryPath [ libbpf ]}
  '';
  meta = {
    description = "DNS64 forwarder and eBPF NAT64 in one service";
    license = lib.licenses.asl20;
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    mainProgram = "gate64";
  };
}
