// SPDX-License-Identifier: Apache-2.0
// Asks a TLS upstream on loopback for one name and prints the RCODE: a process of its own, since it is by its environment
// that a process finds the system's store.

import { Harness } from './harness.ts';

const endpoint = { family: 4 as const, host: '127.0.0.1', port: Number(process.argv[2]) };
const h = await Harness.start({ upstreams: [{ kind: 'tls', endpoint }] });
console.log((await h.ask({ name: 'tls.example', type: 1 })).rcode);
await h.stop();
