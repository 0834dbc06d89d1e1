// SPDX-License-Identifier: Apache-2.0
// The server of short connections: answers the first octet with one, and closes when the client has. One that waits for a slow
// client keeps nobody else waiting, and its backlog is the longest that the kernel gives.
// Usage: node server.ts PORT

import { createServer } from 'node:net';

const server = createServer((socket) => {
  socket.setNoDelay(true).setTimeout(10_000, () => socket.destroy());
  socket.once('data', () => socket.write('x')).on('error', () => undefined);
});
server.listen({ host: '0.0.0.0', port: Number(process.argv[2]), backlog: 65_535 });
