// SPDX-License-Identifier: Apache-2.0
// The process that sends a probe (probe.ts), in the namespace that it was started in:
// probe-sender tcp|udp SOURCE DESTINATION PORT TIMEOUT_MS. Prints one JSON line once it is out and one with what came of it.

import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

const [protocol, source = '', destination = '', portText = '', timeoutText = ''] = process.argv.slice(2);
const [port, timeoutMs] = [Number(portText), Number(timeoutText)];
/** "." NS, id 0x6736, RD: what whoever listens on port 53 answers. */
const DNS_QUESTION = Buffer.from('6736010000010000000000000000020001', 'hex');

let startedAt = performance.now();

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function finish(outcome: 'answered' | 'silent' | 'failed', what: string): void {
  say({ outcome, what, ms: Math.round((performance.now() - startedAt) * 10) / 10 });
  process.exit(0);
}

/** Refused by the other end is an answer; anything else that the kernel says is not. */
function fail(error: NodeJS.ErrnoException): void {
  if (error.code === 'ECONNREFUSED') finish('answered', 'refused: no one listens on that port');
  else if (error.code === 'EADDRNOTAVAIL') {
    finish('failed', `${source} is no address of this network namespace, so nothing can be sent from it here`);
  } else finish('failed', error.message);
}

setTimeout(() => finish('silent', `no answer within ${timeoutMs / 1000} s`), timeoutMs);
if (protocol === 'tcp') {
  startedAt = performance.now();
  const socket = connect({ host: destination, port, localAddress: source, family: 6 });
  // The SYN goes out on the next tick, before this; after a refusal the port is not known any more.
  process.nextTick(() => {
    if (socket.localPort !== undefined) say({ sent: socket.localPort });
  });
  socket.once('error', fail).once('connect', () => finish('answered', 'connected'));
} else {
  const socket = createSocket('udp6');
  socket.once('error', fail).once('message', (bytes) => finish('answered', `${bytes.length} octets`));
  socket.bind(0, source, () => {
    socket.connect(port, destination, () => {
      startedAt = performance.now();
      socket.send(port === 53 ? DNS_QUESTION : 'gate64 probe');
      say({ sent: socket.address().port });
    });
  });
}
