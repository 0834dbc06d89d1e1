// SPDX-License-Identifier: Apache-2.0
// What a start takes over of the maps that an earlier one left, and what it puts new ones in place of.

import { execFileSync } from 'node:child_process';
import { readdirSync, unlinkSync } from 'node:fs';
import { expect } from 'chai';
import { parseIp4 } from '../../src/addr/ip.ts';
import type { DatapathSizes } from '../../src/datapath/datapath.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf.ts';
import { guarded } from '../../src/datapath/error-codes.ts';
import { Pins, type PinnedMap } from '../../src/datapath/pins.ts';
import { BpfMap, ClsactFilter, ifNameToIndex } from '../../src/libbpf/mod.ts';
import { programsOf, type TestPrograms } from '../helpers/programs.ts';
import { Gate64Error } from '../../src/errors.ts';
import { OBJECT, withPlane } from './plane.ts';

const POOL = parseIp4('203.0.113.5');
const NO_PORTS = { tcp: [], udp: [], icmp: [] };

describe('adopting maps', () => {
  const pins = new Pins('/sys/fs/bpf/adopt');
  let config: TestPrograms;

  const start = (sizes: Partial<DatapathSizes>, overrides: Partial<TestPrograms> = {}) =>
    EbpfDatapath.open(
      { objectPath: OBJECT, pins, sizes: { maxSessions: 1024, ...sizes } },
      programsOf({ ...config, ...overrides }),
    );

  before(() => withPlane({}, (plane) => (config = { ...plane.config, slots: 1 })));
  afterEach(() => pins.removeAll());

  it('keeps sessions when the pool needs fewer records than there are', () => {
    {
      using first = start({ maxBlocks: 256 });
      first.writeBlock({ index: 200, slot: 0, v4: POOL, firstPort: 1024, size: 256 }, NO_PORTS);
    }
    using second = start({ maxBlocks: 64 });
    expect(second.info()).to.include({ adopted: true, replaced: undefined });
    expect(second.limits().blocks).to.equal(256);
    expect(second.blocks().map((row) => row.index)).to.deep.equal([200]);
    expect(second.setPrograms(programsOf({ ...config, maxBlocksPerPod: 3 }))).to.equal('loaded');
    expect(second.limits().blocks).to.equal(256);
  });

  it('makes new maps when there are too few records, or another number of sessions is configured', () => {
    start({ maxBlocks: 64 })[Symbol.dispose]();
    {
      using more = start({ maxBlocks: 65 });
      expect(more.info().replaced).to.equal('n64_blocks holds 64 entries, 65 are configured');
      expect(more.limits().blocks).to.equal(65);
    }
    using sessions = start({ maxBlocks: 65, maxSessions: 2048 });
    expect(sessions.info().replaced).to.equal('n64_flow6 holds 1024 entries, 2048 are configured');
  });

  const another = (name: PinnedMap, keySize: number, valueSize: number) => {
    unlinkSync(pins.map(name));
    using map = BpfMap.create({ type: 'hash', keySize, valueSize, maxEntries: 1024, name });
    map.pin(pins.map(name));
  };

  it('makes new maps when what they hold has another shape, and says which', () => {
    start({})[Symbol.dispose]();
    using flow6 = BpfMap.openPinned(pins.map('n64_flow6'));
    another('n64_flow6', flow6.keySize, flow6.valueSize + 8);
    {
      using next = start({});
      expect(next.info().replaced).to.equal(
        `n64_flow6 is of another version (bytes of a value: ${flow6.valueSize + 8}, ${flow6.valueSize} expected)`,
      );
      expect(next.info().adopted).to.equal(false);
    }
    another('n64_bib4', 12, 20);
    {
      using next = start({});
      expect(next.info().replaced).to.match(/^n64_bib4 is of another version \(bytes of a key: 12, 8 expected\)/);
    }
    unlinkSync(pins.map('n64_pods'));
    using last = start({});
    expect(last.info().replaced).to.equal('n64_pods is missing');
  });

  const descriptors = () => readdirSync('/proc/self/fd').length;
  const errorOf = (action: () => unknown): Gate64Error => {
    try {
      action();
    } catch (error) {
      if (error instanceof Gate64Error) return error;
      throw error;
    }
    return expect.fail('nothing was thrown');
  };

  it('an open that fails, early or late, says so with a code and leaves nothing open', () => {
    start({})[Symbol.dispose]();
    const noDevice = { ifindex: 99_999, mac: new Uint8Array(6), mtu: 1500 };
    const attempts: [what: string, code: string, open: () => unknown][] = [
      ['a device that is not there', 'G64_DATAPATH_LOAD', () => start({}, { device: noDevice })],
      [
        'an object that is none',
        'G64_DATAPATH_LOAD',
        () =>
          EbpfDatapath.open(
            { objectPath: new URL(import.meta.url).pathname, pins, sizes: { maxSessions: 1024 } },
            programsOf(config),
          ),
      ],
    ];
    // What is loaded once stays loaded.
    for (const [, , open] of attempts) errorOf(open);
    for (const [what, code, open] of attempts) {
      const before = descriptors();
      for (let i = 0; i < 3; i++) expect(errorOf(open).code, what).to.equal(code);
      expect(descriptors(), what).to.equal(before);
    }
    using again = start({});
    expect(again.info().adopted, 'what was there is taken over still').to.equal(true);
  });

  it('a switch of programs that fails leaves those of before to go back to', () => {
    using datapath = start({});
    const wanted = programsOf(config);
    const before = datapath.info().programs;
    const noDevice = { ifindex: 99_999, mac: new Uint8Array(6), mtu: 1500 };
    const open = descriptors();
    for (let i = 0; i < 3; i++) {
      const error = errorOf(() => datapath.setPrograms(programsOf({ ...config, device: noDevice })));
      expect(error.code).to.equal('G64_DATAPATH_LOAD');
    }
    expect(descriptors()).to.equal(open);
    expect(datapath.info().programs).to.deep.equal(before);
    expect(datapath.setPrograms(wanted), 'what n64_current says and where the link hangs').to.equal('attached');
    expect(datapath.setPrograms(wanted)).to.equal('nothing');
    expect(datapath.places()).to.deep.equal(wanted.prefixes);
  });

  it('whatever fails inside leaves with a code of gate64’s, its cause kept', () => {
    const datapath = guarded(start({}));
    const unknown = errorOf(() => datapath.offerBlock(99));
    expect(unknown.code).to.equal('G64_DATAPATH_MAP');
    expect(unknown.cause).to.be.instanceOf(RangeError);
    expect(
      errorOf(() => datapath.writeBlock({ index: 1 << 30, slot: 0, v4: POOL, firstPort: 1, size: 16 }, NO_PORTS)).code,
    ).to.equal('G64_DATAPATH_MAP');
    datapath[Symbol.dispose]();
    const closed = errorOf(() => datapath.sessions());
    expect(closed.code).to.equal('G64_DATAPATH_MAP');
    expect(closed.message).to.match(/^the data plane: sessions: .*closed/);
  });

  describe('a changed way out', () => {
    const names = ['adopt0', 'adopt1', 'adopt2'] as const;
    const add = (name: string) => execFileSync('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}x`]);
    before(() => {
      for (const name of names) add(name);
    });

    const FILTER = { priority: 1, handle: 0x6e36 };
    const direct = (name: string) => ({
      egress: 'direct' as const,
      uplinks: [{ ifindex: ifNameToIndex(name), mtu: 1500 }],
    });
    const filters = () =>
      names.filter((name) => ClsactFilter.query(ifNameToIndex(name), 'ingress', FILTER) !== undefined);
    const open = (overrides: Partial<TestPrograms>) =>
      EbpfDatapath.open(
        { objectPath: OBJECT, pins, sizes: { maxSessions: 1024 }, attach: 'clsact' },
        programsOf({ ...config, ...overrides }),
      );

    after(() => new ClsactFilter(config.device.ifindex, 'egress', FILTER).detach());

    it('leaves no filter on the uplink of before, on kernels without TCX', () => {
      {
        using first = open(direct('adopt0'));
        expect(filters()).to.deep.equal(['adopt0']);
        const wanted = programsOf({ ...config, ...direct('adopt1') });
        expect(first.setPrograms(wanted)).to.equal('loaded');
        expect(filters(), 'a reload').to.deep.equal(['adopt1']);
        expect(first.setPrograms(wanted)).to.equal('nothing');
      }
      {
        using second = open(direct('adopt2'));
        expect(second.info()).to.include({ attach: 'clsact', adopted: true });
        expect(filters(), 'a start').to.deep.equal(['adopt2']);
        execFileSync('ip', ['link', 'del', 'adopt2']);
        second.setPrograms(programsOf({ ...config, ...direct('adopt0') }));
        add('adopt2');
        expect(filters(), 'the uplink is gone').to.deep.equal(['adopt0']);
      }
      using third = EbpfDatapath.open(
        { objectPath: OBJECT, pins, sizes: { maxSessions: 2048 }, attach: 'clsact' },
        programsOf({ ...config, ...direct('adopt1') }),
      );
      expect(third.info().adopted).to.equal(false);
      expect(filters(), 'maps of another size').to.deep.equal(['adopt1']);
      third.setPrograms(programsOf({ ...config, egress: 'masquerade', uplinks: direct('adopt1').uplinks }));
      expect(filters(), 'no way out of its own').to.deep.equal([]);
    });
  });
});
