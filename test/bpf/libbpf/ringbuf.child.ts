// SPDX-License-Identifier: Apache-2.0
// Process of its own for ringbuf.test.ts: how a reader bears on the end of a process. Arguments: object file, mode.

import { BpfMap, BpfObject, RingBuffer } from '../../../src/libbpf/mod.ts';

const [fixture = '', mode] = process.argv.slice(2);
const inner = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 8, maxEntries: 16 });
const object = BpfObject.open(fixture);
object.map('outer').setInnerMap(inner);
object.load();
process.on('exit', () => process.stdout.write('exit\n'));
process.on('uncaughtException', (error) => {
  process.stdout.write(`uncaught ${error.message}\n`);
  process.removeAllListeners('exit');
  process.exit(7);
});
const ring = new RingBuffer(object.map('events'), (records) => {
  if (mode === 'throw') throw new Error('thrown in callback');
  process.stdout.write(`got ${records.length}\n`);
});
const notify = () => object.program('notify').testRun(Buffer.alloc(64));
notify();
setTimeout(() => {
  if (mode === 'unref' || mode === 'late') ring.unref();
}, 50);
// Nobody takes what comes now.
process.once('beforeExit', () => {
  if (mode === 'late') notify();
});
