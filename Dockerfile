# SPDX-License-Identifier: Apache-2.0
# The image of both halves, from the checkout alone: docker build -t gate64:0.1.0 .
# For several architectures: docker buildx build --platform linux/amd64,linux/arm64 .
ARG NODE_IMAGE=docker.io/library/node:24-bookworm-slim
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

# Runs on the builder's own architecture: JavaScript is the same everywhere, and `-target bpf` makes little-endian byte code
# that reads no kernel structure, so one object serves amd64 and arm64.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends clang llvm libbpf-dev linux-libc-dev libc6-dev make
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# The Makefile takes the Node that it finds in .tools/bin.
RUN npm ci --no-progress && mkdir -p .tools/bin && ln -s "$(command -v node)" "$(command -v npm)" .tools/bin/
COPY Makefile tsconfig.json ./
COPY bpf ./bpf
COPY src ./src
RUN make build && chmod -R a+rX dist

# Runs on the image's architecture: koffi brings a library of it.
FROM ${NODE_IMAGE} AS modules
WORKDIR /opt/gate64
COPY package.json package-lock.json .npmrc LICENSE ./
RUN npm ci --omit=dev --no-progress \
 && npm sbom --omit=dev --package-lock-only --sbom-format=cyclonedx >sbom.cdx.json \
 && chmod -R a+rX .

# No npm, no compiler. Debian's package list stays, so that scanners see the packages beside what sbom.cdx.json names.
FROM ${BASE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates iproute2 libbpf1 libstdc++6 nftables util-linux \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
 && ln -s /opt/gate64/dist/gate64 /usr/local/bin/gate64
COPY --from=modules /usr/local/bin/node /usr/local/bin/node
COPY --from=modules /opt/gate64 /opt/gate64
# Commands, JavaScript and the BPF object (dist/bpf).
COPY --from=build /src/dist /opt/gate64/dist

ARG REVISION=unknown
LABEL org.opencontainers.image.title="gate64" \
      org.opencontainers.image.description="DNS64 forwarder and eBPF NAT64 in one service" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      gate64.sbom="/opt/gate64/sbom.cdx.json"

WORKDIR /opt/gate64
ENV NODE_ENV=production
# Enough for the DNS64; the NAT64 wants root with BPF, NET_ADMIN and PERFMON, which the DaemonSet sets (runAsUser: 0).
USER 65532:65532
ENTRYPOINT ["gate64"]
CMD ["run"]
