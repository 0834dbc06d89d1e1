// SPDX-License-Identifier: Apache-2.0
// One scenario of attach.test.ts, inside fresh network and mount namespaces. Arguments: directory, scenario.
// Traffic is UDP over that namespace's own loopback device:
//
//   socket ── lo egress ── lo ingress ── the same socket

import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import {
  ClsactFilter,
  TcxLink,
  BpfLoadError,
  BpfMap,
  BpfObject,
  BpfProgram,
  ifNameToIndex,
  isBpffs,
  isTcxSupported,
  LibbpfError,
  RingBuffer,
} from '../../../src/libbpf/mod.ts';

const [directory = '', scenario = ''] = process.argv.slice(2);
const bpffs = join(directory, 'bpffs');
const pin = (name: string): string => join(bpffs, name);

function loaded(edit: (object: BpfObject) => void = () => {}): BpfObject {
  using inner = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 8, maxEntries: 16 });
  const object = BpfObject.open(join(directory, 'fixture.bpf.o'));
  object.map('outer').setInnerMap(inner);
  edit(object);
  return object.load();
}

const slots = { count: 0, count_second: 1, drop_all: 2 } as const;

function counted(stats: BpfMap, program: keyof typeof slots): number {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(slots[program]);
  return stats.lookupPerCpu(key)!.reduce((sum, bytes) => sum + Buffer.from(bytes).readUInt32LE(), 0);
}

// Exactly one packet: the socket is its own receiver, so that no ICMP error answers.
async function send(): Promise<void> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  await new Promise((resolve) => socket.send('x', socket.address().port, '127.0.0.1', resolve));
  socket.close();
}

function qdiscs(): string {
  return execFileSync('tc', ['qdisc', 'show', 'dev', 'lo'], { encoding: 'utf8' });
}

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof LibbpfError) return error.code;
    throw error;
  }
  return 'no error';
}

const scenarios: Record<string, () => Promise<void> | void> = {
  async order() {
    expect(isTcxSupported()).to.equal(true);
    using object = loaded();
    const stats = object.map('stats');
    using first = TcxLink.attach(object.program('count'), ifNameToIndex('lo'), 'egress');
    await send();
    expect(counted(stats, 'count')).to.equal(1);
    using ahead = TcxLink.attach(object.program('drop_all'), ifNameToIndex('lo'), 'egress', { before: true });
    await send();
    // The one in front drops, so the older link sees nothing.
    expect([counted(stats, 'drop_all'), counted(stats, 'count')]).to.deep.equal([1, 1]);
    ahead.update(object.program('count_second'));
    await send();
    expect([counted(stats, 'drop_all'), counted(stats, 'count_second'), counted(stats, 'count')]).to.deep.equal([
      1, 1, 2,
    ]);
    expect(first.info()).to.deep.equal({
      id: first.info().id,
      programId: object.program('count').id,
      ifindex: ifNameToIndex('lo'),
      direction: 'egress',
    });
    expect(ahead.info().programId).to.equal(object.program('count_second').id);
    using behind = TcxLink.attach(object.program('drop_all'), ifNameToIndex('lo'), 'egress');
    await send();
    expect([counted(stats, 'count_second'), counted(stats, 'count'), counted(stats, 'drop_all')]).to.deep.equal([
      2, 3, 2,
    ]);
    expect(behind.info().direction).to.equal('egress');
  },

  async closing() {
    using object = loaded();
    const stats = object.map('stats');
    const link = TcxLink.attach(object.program('count'), ifNameToIndex('lo'), 'ingress');
    await send();
    link.close();
    await send();
    expect(counted(stats, 'count')).to.equal(1);
    expect(codeOf(() => link.info())).to.equal('LIBBPF_STATE');

    using pinned = TcxLink.attach(object.program('count'), ifNameToIndex('lo'), 'ingress');
    pinned.pin(pin('link'));
    expect(codeOf(() => pinned.pin(pin('link')))).to.equal('EEXIST');
    using again = TcxLink.openPinned(pin('link'));
    expect(again.info().id).to.equal(pinned.info().id);
    again.detach();
    await send();
    expect(counted(stats, 'count')).to.equal(1);
    expect(again.info().ifindex).to.equal(0);
    expect(codeOf(() => again.update(object.program('count')))).to.equal('ENOLINK');
    unlinkSync(pin('link'));
  },

  async killed() {
    const holder = spawn(process.execPath, [import.meta.filename, directory, 'hold'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line]: unknown[] = await once(holder.stdout, 'data');
    const programId = Number(String(line));
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    using stats = BpfMap.openPinned(pin('stats'));
    using program = BpfProgram.openPinned(pin('program'));
    expect([program.name, program.id]).to.deep.equal(['count', programId]);
    await send();
    expect(counted(stats, 'count')).to.equal(1);
    using link = TcxLink.openPinned(pin('link'));
    expect(link.info().programId).to.equal(programId);
    // The next version of the object takes over map and link without a gap.
    using object = loaded((next) => next.map('stats').setPinPath(pin('stats')));
    link.update(object.program('count_second'));
    await send();
    expect([counted(stats, 'count'), counted(stats, 'count_second')]).to.deep.equal([1, 1]);
    // What was not pinned went with the process.
    expect(counted(stats, 'drop_all')).to.equal(0);
    unlinkSync(pin('link'));
    link.close();
    await send();
    expect(counted(stats, 'count_second')).to.equal(1);
  },

  // Helper of `killed`: runs until it is killed.
  hold() {
    const object = loaded((next) => next.map('stats').setPinPath(pin('stats')));
    TcxLink.attach(object.program('count'), ifNameToIndex('lo'), 'egress').pin(pin('link'));
    TcxLink.attach(object.program('drop_all'), ifNameToIndex('lo'), 'egress', { before: true });
    object.program('count').pin(pin('program'));
    process.stdout.write(`${object.program('count').id}\n`);
    setInterval(() => {}, 1000);
  },

  pins() {
    expect([isBpffs(bpffs), isBpffs(directory)]).to.deep.equal([true, false]);
    const key = Buffer.alloc(8, 1);
    {
      using object = loaded((next) => next.map('flows').setMaxEntries(64).setPinPath(pin('flows')));
      object.map('flows').update(key, Buffer.alloc(16, 5));
      object.map('leases').pin(pin('leases'));
    }
    {
      using object = loaded((next) => next.map('flows').setMaxEntries(64).setPinPath(pin('flows')));
      expect(object.map('flows').lookup(key)).to.deep.equal(Buffer.alloc(16, 5));
    }
    using flows = BpfMap.openPinned(pin('flows'));
    expect([flows.name, flows.type, flows.keySize, flows.valueSize, flows.maxEntries]).to.deep.equal([
      'flows',
      1,
      8,
      16,
      64,
    ]);
    expect(() => loaded((next) => next.map('flows').setMaxEntries(128).setPinPath(pin('flows'))))
      .to.throw(BpfLoadError, pin('flows'))
      .with.property('errno', 22);
    expect(flows.lookup(key)).to.deep.equal(Buffer.alloc(16, 5));
  },

  async clsact() {
    using object = loaded();
    const stats = object.map('stats');
    const lo = ifNameToIndex('lo');
    const place = { priority: 10, handle: 1 };
    expect(ClsactFilter.query(lo, 'egress', place)).to.equal(undefined);
    expect(qdiscs()).not.to.include('clsact');
    const filter = ClsactFilter.attach(object.program('count'), lo, 'egress', place);
    expect(ClsactFilter.query(lo, 'egress', place)).to.equal(object.program('count').id);
    await send();
    expect(counted(stats, 'count')).to.equal(1);
    filter.replace(object.program('count_second'));
    await send();
    expect([counted(stats, 'count'), counted(stats, 'count_second')]).to.deep.equal([1, 1]);
    // A second attach finds the qdisc there and does not mind.
    using other = ClsactFilter.attach(object.program('count'), lo, 'ingress', place);
    expect(other.direction).to.equal('ingress');
    // A filter can be removed by whoever knows its place.
    expect(new ClsactFilter(lo, 'egress', place).detach()).to.equal(true);
    expect(filter.detach()).to.equal(false);
    expect(ClsactFilter.query(lo, 'egress', place)).to.equal(undefined);
    expect(qdiscs()).to.include('clsact');
  },

  async ring() {
    using object = loaded((next) => next.setVariable('start', Buffer.alloc(4)));
    object.program('notify').pin(pin('notify'));
    const sequence: number[] = [];
    using _ring = new RingBuffer(object.map('events'), (records) => {
      for (const record of records) sequence.push(record.readUInt32LE(4));
    });
    const writer = spawn(process.execPath, [import.meta.filename, directory, 'write'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line]: unknown[] = await once(writer.stdout, 'data');
    const written = Number(String(line));
    for (let i = 0; i < 200 && sequence.length < written; i++) await sleep(5);
    expect(written).to.be.above(1000);
    expect(sequence).to.deep.equal(Array.from({ length: written }, (_, i) => i));
  },

  // Helper of `ring`: writes records one by one, some close together and some apart; prints how many fitted.
  write() {
    using program = BpfProgram.openPinned(pin('notify'));
    const packet = Buffer.alloc(64);
    let written = 0;
    const gate = new Int32Array(new SharedArrayBuffer(4));
    for (let i = 0; i < 30_000; i++) {
      if (program.testRun(packet, { dataOutSize: 0 }).retval === 0) written++;
      if (i % 100 === 0) Atomics.wait(gate, 0, 0, 1);
    }
    process.stdout.write(`${written}\n`);
  },

  unprivileged() {
    using inner = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 8, maxEntries: 16 });
    using object = BpfObject.open(join(directory, 'fixture.bpf.o'));
    object.map('outer').setInnerMap(inner);
    process.seteuid!(65534);
    expect(() => object.load())
      .to.throw(BpfLoadError, 'EPERM')
      .with.property('errno', 1);
    expect(codeOf(() => BpfMap.fromId(1))).to.equal('EPERM');
    expect(isTcxSupported()).to.be.a('boolean');
    process.seteuid!(0);
  },

  missing() {
    using object = loaded();
    const program = object.program('count');
    expect(codeOf(() => ifNameToIndex('nosuch0'))).to.equal('ENODEV');
    expect(codeOf(() => TcxLink.attach(program, 9999, 'egress'))).to.equal('ENODEV');
    expect(codeOf(() => ClsactFilter.attach(program, 9999, 'egress', { priority: 1, handle: 1 }))).to.match(
      /^E(NODEV|INVAL)$/,
    );
    expect(codeOf(() => TcxLink.openPinned(pin('nothing')))).to.equal('ENOENT');
    object.map('flows').pin(pin('map'));
    program.pin(pin('prog'));
    expect(codeOf(() => TcxLink.openPinned(pin('map')))).to.equal('LIBBPF_WRONG_KIND');
    expect(codeOf(() => BpfMap.openPinned(pin('prog')))).to.equal('LIBBPF_WRONG_KIND');
    expect(codeOf(() => BpfProgram.openPinned(pin('map')))).to.equal('LIBBPF_WRONG_KIND');
    expect(codeOf(() => object.map('stats').pin(join(directory, 'outside')))).to.equal('EPERM');
    expect(existsSync(join(directory, 'outside'))).to.equal(false);
  },
};

const helper = scenario === 'hold' || scenario === 'write';
if (!helper) {
  execFileSync('mount', ['-t', 'bpf', 'bpf', bpffs]);
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
}
await scenarios[scenario]!();
if (!helper) process.stdout.write(`${scenario} done\n`);
