// SPDX-License-Identifier: Apache-2.0
// Queues of free blocks on real maps: retired in one pass, hidden from the programs while their address drains.

import { expect } from 'chai';
import { parseIp4 } from '../../src/addr/ip.ts';
import { BlockStore } from '../../src/datapath/block-store.ts';
import { BpfMap } from '../../src/libbpf/mod.ts';
import { Plane, POOL } from './plane.ts';

const NONE = { tcp: [], udp: [], icmp: [] };

describe('bpf: queues of blocks', () => {
  it('retires every block of a full pool in a moment, those taken meanwhile aside', () => {
    using plane = new Plane({ blocks: [], maxBlocks: 4096 });
    const { datapath } = plane;
    const count = 4032;
    const v4 = parseIp4(POOL);
    for (let index = 0; index < count; index++) {
      datapath.writeBlock({ index, slot: 0, v4, firstPort: 1024 + index * 16, size: 16 }, NONE);
      datapath.offerBlock(index);
    }
    const started = performance.now();
    const retired = datapath.retireBlocks(Array.from({ length: count - 2 }, (_, i) => i));
    // It took 24 seconds when each block was looked for by itself.
    expect(performance.now() - started).to.be.below(2000);
    expect(retired.size).to.equal(count - 2);
    expect([...datapath.queuedBlocks(0)]).to.have.members([count - 2, count - 1]);
    expect([...datapath.retireBlocks([0, count])], 'lies in no queue; was never written').to.deep.equal([]);
    const states = datapath.blocks().map((row) => row.state);
    expect(states.filter((state) => state === 'retired')).to.have.length(count - 2);
  });

  it('hides the queue of an address that drains and shows it again with all that is in it', () => {
    using plane = new Plane();
    const { datapath, maps } = plane;
    const slots = () =>
      [...maps.n64_free.keys()]
        .filter((key) => maps.n64_free.lookup(key) !== undefined)
        .map((key) => new DataView(key.buffer, key.byteOffset).getUint32(0, true));
    const [a, b] = [parseIp4(POOL), parseIp4('203.0.113.77')];
    const address = (v4: number, slot: number, draining: boolean) => ({ v4, slot, shared: false, draining });
    const queued = [...datapath.queuedBlocks(0)];
    expect(slots()).to.deep.equal([0]);
    datapath.setPoolAddresses([address(a, 0, true), address(b, 1, false)]);
    expect(slots()).to.deep.equal([1]);
    expect([...datapath.queuedBlocks(0)], 'user space sees it still').to.deep.equal(queued);
    datapath.setPoolAddresses([address(a, 0, true), address(b, 0, false)]);
    expect(slots(), 'a slot that one address left and another has').to.deep.equal([0]);
    datapath.setPoolAddresses([address(a, 0, false)]);
    expect(slots()).to.deep.equal([0]);
    expect([...datapath.queuedBlocks(0)]).to.deep.equal(queued);
  });

  it('writes nothing where the right queues are there: each write waits for every running program', () => {
    using plane = new Plane();
    const { n64_free: free } = plane.maps;
    let writes = 0;
    free.update = (...args) => {
      writes++;
      BpfMap.prototype.update.apply(free, args);
    };
    free.delete = (...args) => {
      writes++;
      return BpfMap.prototype.delete.apply(free, args);
    };
    using first = new BlockStore(plane.maps, plane.pins);
    first.expose(new Set([0]));
    expect(writes).to.equal(0);
    first.expose(new Set([1]));
    expect(writes).to.equal(2);
    // As another process, which has opened the queues anew.
    using second = new BlockStore(plane.maps, plane.pins);
    second.expose(new Set([1]));
    expect(writes).to.equal(2);
    second.expose(new Set([0, 1]));
    expect(writes).to.equal(3);
  });
});
