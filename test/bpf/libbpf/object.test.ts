// SPDX-License-Identifier: Apache-2.0
// The binding against the running kernel: editing before load, loading, maps, test runs, iterator. Needs root.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Codec } from '../../../src/libbpf/mod.ts';
import {
  BpfLoadError,
  BpfMap,
  BpfObject,
  iterateMap,
  LibbpfError,
  mapFlags,
  possibleCpus,
  TypedMap,
} from '../../../src/libbpf/mod.ts';
import { compile } from './compile.ts';

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const codeOf = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    if (error instanceof LibbpfError) return error.code;
    throw error;
  }
  return 'no error';
};
const packet = Buffer.concat([Buffer.from('0102030405060a0b0c0d0e0f0800', 'hex'), Buffer.alloc(50)]);

describe('libbpf: objects on the running kernel', function () {
  let directory: string;
  let fixture: string;

  before(function () {
    if (process.getuid?.() !== 0) this.skip();
    directory = mkdtempSync(join(tmpdir(), 'libbpf-test-'));
    fixture = compile('fixture', directory);
  });
  after(() => {
    if (directory) rmSync(directory, { recursive: true });
  });

  const opened = (source: string | Uint8Array = fixture): BpfObject => {
    const object = BpfObject.open(source, typeof source === 'string' ? {} : { name: 'bytes' });
    // The template may be closed after load: the kernel took what it needs.
    object.map('outer').setInnerMap(innerMap);
    return object;
  };
  let innerMap: BpfMap;
  beforeEach(() => {
    innerMap = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 8, maxEntries: 16, name: 'inner' });
  });
  afterEach(() => innerMap.close());

  it('libbpf: constants edited before load are what the program reads', () => {
    using object = opened();
    expect(object.variable('limit')).to.deep.equal({ section: '.rodata', offset: 8, size: 8 });
    expect(object.rodata().readUInt32LE(0)).to.equal(7);
    object.setVariable('limit', u64(30)).setRodata(u32(2), object.variable('cfg').offset);
    object.setVariable('start', u32(90));
    object.load();
    const run = object.program('swap_macs').testRun(packet);
    expect(run.retval).to.equal(32);
    expect(Buffer.from(run.data).toString('hex', 0, 14)).to.equal('0a0b0c0d0e0f0102030405060800');
    expect(run.data).to.have.length(packet.length);
    expect(object.map('.data').lookup(u32(0))).to.deep.equal(u32(90));
    expect(codeOf(() => object.rodata())).to.equal('LIBBPF_STATE');
    expect(codeOf(() => object.map('flows').setMaxEntries(4))).to.equal('LIBBPF_STATE');
    expect(codeOf(() => object.load())).to.equal('LIBBPF_STATE');
  });

  it('libbpf: an object opens from bytes, and a program with autoload off has no descriptor', () => {
    using object = opened(readFileSync(fixture));
    expect(object.name).to.equal('bytes');
    expect(object.program('notify').setAutoload(false).autoload).to.equal(false);
    object.load();
    expect(object.program('count').fd).to.be.above(0);
    expect(codeOf(() => object.program('notify').fd)).to.equal('LIBBPF_STATE');
    expect(object.program('count').verifiedInstructions()).to.be.within(5, 100);
    expect(object.program('count').id).to.be.above(0);
  });

  it('libbpf: after close every part of an object throws instead of touching freed memory', () => {
    const object = opened().load();
    const map = object.map('flows');
    const program = object.program('count');
    object.close();
    object.close();
    expect(codeOf(() => map.lookup(Buffer.alloc(8)))).to.equal('LIBBPF_STATE');
    expect(codeOf(() => map.update(Buffer.alloc(8), Buffer.alloc(16)))).to.equal('LIBBPF_STATE');
    expect(codeOf(() => program.testRun(packet))).to.equal('LIBBPF_STATE');
    expect(codeOf(() => map.setMaxEntries(5))).to.equal('LIBBPF_STATE');
    expect(codeOf(() => program.setAutoload(true))).to.equal('LIBBPF_STATE');
    expect(codeOf(() => object.map('flows'))).to.equal('LIBBPF_STATE');
  });

  it('libbpf: the context of a test run goes in and comes back', () => {
    using object = opened();
    object.setVariable('cfg', Buffer.concat([u32(0), u32(0xabcd)])).load();
    // struct __sk_buff: len, pkt_type, mark, …
    const ctxIn = Buffer.alloc(192);
    ctxIn.writeUInt32LE(0x1111, 8);
    const run = object.program('count').testRun(packet, { ctxIn, repeat: 5 });
    expect(run.retval).to.equal(0xffffffff);
    expect(Buffer.from(run.ctx!).readUInt32LE(8)).to.equal(0xabcd);
    const counted = object.map('stats').lookupPerCpu(u32(0))!;
    expect(counted).to.have.length(possibleCpus());
    expect(counted.reduce((sum, bytes) => sum + Buffer.from(bytes).readUInt32LE(), 0)).to.equal(5);
    expect(codeOf(() => object.program('count').testRun(packet, { dataOutSize: 10 }))).to.equal('ENOSPC');
    expect(codeOf(() => object.program('count').testRun(packet.subarray(0, 3)))).to.equal('EINVAL');
  });

  it('libbpf: update flags, lookups and deletion say what happened', () => {
    using object = opened();
    object.map('flows').setMaxEntries(2);
    object.load();
    const flows = object.map('flows');
    const [a, b, c] = [u64(1), u64(2), u64(3)];
    flows.update(a, Buffer.alloc(16, 1), 'noexist');
    expect(codeOf(() => flows.update(a, Buffer.alloc(16), 'noexist'))).to.equal('EEXIST');
    expect(codeOf(() => flows.update(b, Buffer.alloc(16), 'exist'))).to.equal('ENOENT');
    expect(flows.tryUpdate(a, Buffer.alloc(16), 'noexist')).to.equal(false);
    expect(flows.tryUpdate(b, Buffer.alloc(16), 'exist')).to.equal(false);
    expect(flows.tryUpdate(b, Buffer.alloc(16, 2), 'noexist')).to.equal(true);
    expect(codeOf(() => flows.tryUpdate(c, Buffer.alloc(16), 'noexist'))).to.equal('E2BIG');
    expect(flows.lookup(a)).to.deep.equal(Buffer.alloc(16, 1));
    expect(flows.lookup(c)).to.equal(undefined);
    const out = Buffer.alloc(20, 9);
    expect(flows.lookupInto(b, out)).to.equal(true);
    expect(out).to.deep.equal(Buffer.concat([Buffer.alloc(16, 2), Buffer.alloc(4, 9)]));
    expect(flows.lookupAndDelete(b)).to.deep.equal(Buffer.alloc(16, 2));
    expect(flows.delete(a)).to.equal(true);
    expect(flows.delete(a)).to.equal(false);
    expect([...flows.keys()]).to.deep.equal([]);
  });

  it('libbpf: short, long and wrong buffers throw before they reach the kernel', () => {
    using object = opened().load();
    const flows = object.map('flows');
    const stats = object.map('stats');
    expect(() => flows.lookup(Buffer.alloc(7))).to.throw(RangeError, 'exactly 8');
    expect(() => flows.lookup(Buffer.alloc(9))).to.throw(RangeError);
    expect(() => flows.lookup('12345678' as unknown as Buffer)).to.throw(TypeError);
    expect(() => flows.update(Buffer.alloc(8), Buffer.alloc(15))).to.throw(RangeError, '15 bytes');
    expect(() => flows.update(Buffer.alloc(8), Buffer.alloc(16), 'never' as 'any')).to.throw(TypeError);
    expect(() => flows.update(null, Buffer.alloc(16))).to.throw(TypeError);
    expect(() => flows.lookupInto(Buffer.alloc(8), Buffer.alloc(15))).to.throw(RangeError);
    expect(() => flows.nextKey(Buffer.alloc(4))).to.throw(RangeError);
    expect(() => flows.pop()).to.throw(TypeError);
    expect(() => flows.updateBatch(Buffer.alloc(8), Buffer.alloc(32), 2)).to.throw(RangeError);
    expect(() => flows.lookupPerCpu(Buffer.alloc(8))).to.throw(TypeError);
    // A per-CPU value is one slot of 8 bytes for each possible CPU.
    expect(() => stats.update(u32(0), Buffer.alloc(4))).to.throw(RangeError);
    expect(() => stats.lookupInto(u32(0), Buffer.alloc(8 * possibleCpus() - 1))).to.throw(RangeError);
    expect(() => object.program('count').testRun(packet, { repeat: 1.5 })).to.throw(TypeError);
  });

  it('libbpf: a queue filled here is emptied by the program, in order', () => {
    using object = opened().load();
    const leases = object.map('leases');
    leases.push(u64(11));
    leases.push(u64(12));
    leases.push(u64(13));
    expect(leases.peek()).to.deep.equal(u64(11));
    const run = (): number => object.program('lease').testRun(packet).retval;
    expect([run(), run()]).to.deep.equal([11, 12]);
    expect(leases.pop()).to.deep.equal(u64(13));
    expect(leases.pop()).to.equal(undefined);
    expect(run()).to.equal(0xffffffff);
    for (let i = 0; i < 8; i++) leases.push(u64(i));
    expect(codeOf(() => leases.push(u64(9)))).to.equal('E2BIG');
  });

  it('libbpf: 100000 entries go in and out in batches, each once', () => {
    const total = 100_000;
    using map = BpfMap.create({
      type: 'hash',
      keySize: 4,
      valueSize: 12,
      maxEntries: total,
      flags: mapFlags.noPrealloc,
    });
    const keys = new Uint32Array(total).map((_, i) => i);
    const values = new Uint32Array(total * 3).map((_, i) => i);
    map.updateBatch(new Uint8Array(keys.buffer), new Uint8Array(values.buffer), total);
    const seen = new Uint8Array(total);
    // 7 is less than some hash bucket holds, so growing after ENOSPC is covered too.
    for (const batchSize of [4096, 7]) {
      let count = 0;
      for (const batch of map.lookupBatch(batchSize)) {
        expect(batch.keys).to.have.length(batch.count * 4);
        expect(batch.values).to.have.length(batch.count * 12);
        const key = Buffer.from(batch.keys).readUInt32LE(0);
        expect(Buffer.from(batch.values).readUInt32LE(4)).to.equal(key * 3 + 1);
        for (let i = 0; i < batch.count; i++)
          seen[Buffer.from(batch.keys.buffer, batch.keys.byteOffset).readUInt32LE(i * 4)]! += 1;
        count += batch.count;
      }
      expect(count).to.equal(total);
    }
    expect(seen.every((times) => times === 2)).to.equal(true);
    const half = new Uint8Array(keys.buffer, 0, total * 2);
    expect(map.delete(u32(77))).to.equal(true);
    expect(map.deleteBatch(half, total / 2)).to.equal(total / 2 - 1);
    expect([...map.lookupBatch()].reduce((sum, { count }) => sum + count, 0)).to.equal(total / 2);
    expect(codeOf(() => map.updateBatch(half, Buffer.alloc(total * 6), total / 2, 'exist'))).to.equal('ENOENT');
  });

  it('libbpf: a walk over the keys may delete the one it stands on', () => {
    using map = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 500 });
    for (let i = 0; i < 500; i++) map.update(u32(i), u32(i * 2));
    let count = 0;
    for (const [key, value] of map.entries()) {
      expect(Buffer.from(value).readUInt32LE()).to.equal(2 * Buffer.from(key).readUInt32LE());
      expect(map.delete(key)).to.equal(true);
      count++;
    }
    expect(count).to.equal(500);
    expect(map.nextKey(null)).to.equal(undefined);
  });

  it('libbpf: a map type without batches is read key by key', () => {
    using map = BpfMap.create({ type: 'queue', keySize: 0, valueSize: 8, maxEntries: 4 });
    map.push(u64(1));
    // A queue cannot be walked at all; both ways are refused and the error says which map.
    expect(() => [...map.lookupBatch()]).to.throw(LibbpfError);
    using trie = BpfMap.create({
      type: 'lpmTrie',
      keySize: 8,
      valueSize: 4,
      maxEntries: 10,
      flags: mapFlags.noPrealloc,
    });
    for (let i = 1; i <= 10; i++) trie.update(Buffer.concat([u32(32), u32(i)]), u32(i));
    expect([...trie.lookupBatch(3)].reduce((sum, { count }) => sum + count, 0)).to.equal(10);

    using perCpu = BpfMap.create({ type: 'perCpuArray', keySize: 4, valueSize: 4, maxEntries: 3 });
    perCpu.update(u32(1), Buffer.alloc(perCpu.valueBytes, 7));
    const batches = [...perCpu.lookupBatch()];
    expect(batches.reduce((sum, { count }) => sum + count, 0)).to.equal(3);
    expect(perCpu.lookupPerCpu(u32(1))).to.deep.equal(Array(possibleCpus()).fill(Buffer.alloc(4, 7)));
  });

  it('libbpf: a program reads a map put into a map of maps, and its id opens it again', () => {
    using object = opened().load();
    const run = (): number => object.program('inner_get').testRun(packet).retval;
    expect(run()).to.equal(100);
    using inner = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 8, maxEntries: 16 });
    object.map('outer').update(u32(1), u32(inner.fd));
    expect(run()).to.equal(101);
    inner.update(u32(1), u64(42));
    expect(run()).to.equal(42);
    using again = BpfMap.fromId(Buffer.from(object.map('outer').lookup(u32(1))!).readUInt32LE());
    expect(again.id).to.equal(inner.id);
    expect(again.lookup(u32(1))).to.deep.equal(u64(42));
  });

  it('libbpf: an object takes over a map that exists already', () => {
    using before = BpfMap.create({ type: 'hash', keySize: 8, valueSize: 16, maxEntries: 1024 });
    before.update(u64(5), Buffer.alloc(16, 5));
    using object = opened();
    object.map('flows').reuseFd(before.fd);
    object.load();
    expect(object.map('flows').id).to.equal(before.id);
    expect(object.map('flows').lookup(u64(5))).to.deep.equal(Buffer.alloc(16, 5));
  });

  it('libbpf: typed maps translate and refuse codecs of another size', () => {
    const number: Codec<number> = {
      size: 8,
      read: (view, offset) => Number(view.getBigUint64(offset, true)),
      write: (view, offset, value) => view.setBigUint64(offset, BigInt(value), true),
    };
    const pair: Codec<[number, number]> = {
      size: 16,
      read: (view, offset) => [number.read(view, offset), number.read(view, offset + 8)],
      write: (view, offset, [a, b]) => {
        number.write(view, offset, a);
        number.write(view, offset + 8, b);
      },
    };
    using object = opened().load();
    const flows = new TypedMap(object.map('flows'), number, pair);
    flows.update(1, [2, 3]);
    expect(flows.tryUpdate(1, [0, 0], 'noexist')).to.equal(false);
    flows.update(4, [5, 6]);
    expect(flows.lookup(4)).to.deep.equal([5, 6]);
    expect(new Map(flows.entries())).to.deep.equal(
      new Map([
        [1, [2, 3]],
        [4, [5, 6]],
      ]),
    );
    expect(flows.delete(1)).to.equal(true);
    expect(flows.lookup(1)).to.equal(undefined);
    expect(() => new TypedMap(object.map('flows'), number, number)).to.throw(RangeError, '16');
  });

  it('libbpf: an iterator gives what its program wrote, records whole', () => {
    using object = opened();
    object.map('flows').setMaxEntries(30_000);
    object.load();
    const flows = object.map('flows');
    for (let i = 0; i < 30_000; i++) flows.update(u64(i), Buffer.concat([u64(i), u64(7)]));
    const ids = new Set<number>();
    let chunks = 0;
    iterateMap(
      object.program('dump_flows'),
      flows,
      (chunk) => {
        chunks++;
        expect(chunk.length % 24).to.equal(0);
        for (let at = 0; at < chunk.length; at += 24) {
          expect(chunk.readUInt32LE(at)).to.equal(chunk.readUInt32LE(at + 8));
          ids.add(chunk.readUInt32LE(at));
        }
      },
      { recordSize: 24 },
    );
    expect(ids.size).to.equal(30_000);
    expect(chunks).to.be.above(1);
    expect(iterateMap(object.program('dump_flows'), flows)).to.have.length(30_000 * 24);
    expect(codeOf(() => iterateMap(object.program('count'), flows))).to.equal('EINVAL');
  });

  it("libbpf: a refused program throws with the verifier's words", () => {
    using object = BpfObject.open(compile('broken', directory));
    let error: unknown;
    try {
      object.load();
    } catch (caught) {
      error = caught;
    }
    expect(error).to.be.instanceOf(BpfLoadError);
    const refusal = error as BpfLoadError;
    expect(refusal.program).to.equal('unchecked');
    expect(refusal.errno).to.equal(13);
    expect(refusal.code).to.equal('LIBBPF_LOAD');
    expect(refusal.verifierTail).to.include("R0 invalid mem access 'map_value_or_null'");
    expect(refusal.message).to.include(refusal.verifierTail);
    expect(refusal.warnings.join()).to.include('unchecked');
    expect(codeOf(() => object.load())).to.equal('LIBBPF_STATE');
  });
});
