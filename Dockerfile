# SPDX-License-Identifier: Apache-2.0
# The image of the DaemonSet. Build dist/ first: make build && docker build -t gate64:0.1.0 .
FROM node:24-bookworm-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends iproute2 libbpf1 nftables util-linux \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/gate64
COPY package.json package-lock.json .npmrc LICENSE ./
RUN npm ci --omit=dev --no-progress && npm cache clean --force
# Commands, JavaScript and the BPF object (dist/bpf).
COPY dist ./dist
RUN ln -s /opt/gate64/dist/gate64 /usr/local/bin/gate64

ENV NODE_ENV=production
ENTRYPOINT ["/opt/gate64/dist/gate64"]
CMD ["run"]
