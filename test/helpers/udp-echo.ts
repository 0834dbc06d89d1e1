// SPDX-License-Identifier: Apache-2.0
// A UDP echo server on IPv4: `node udp-echo.ts PORT`.

import { createSocket } from 'node:dgram';

const socket = createSocket('udp4');
socket.on('message', (data, peer) => socket.send(data, peer.port, peer.address));
socket.bind(Number(process.argv[2]), () => console.log('listening'));
