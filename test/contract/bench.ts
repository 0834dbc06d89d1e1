// SPDX-License-Identifier: Apache-2.0
// What the contract of data planes needs of one: a place for it, packets, time, and the accidents that may befall it.

import { formatIp6, parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { embedIp4, parsePrefix64 } from '../../src/addr/rfc6052.ts';
import type {
  BlockRow,
  Datapath,
  DatapathSite,
  DatapathSizes,
  PoolAddress,
  ProgramConfig,
  SessionRow,
} from '../../src/datapath/datapath.ts';
import type { Protocol, TransportAddress4, TransportAddress6 } from '../../src/model/binding.ts';
import type { DropReason } from '../../src/model/drops.gen.ts';
import { programsOf, testPrograms, type TestPrograms } from '../helpers/programs.ts';

/** The first packet of a flow: UDP, the SYN of TCP, an echo request. ICMP: the source's port is the identifier. */
export interface Flow {
  readonly protocol: Protocol;
  readonly source: TransportAddress6;
  readonly destination6: Uint8Array;
  readonly port: number;
}

/** T,t that the packet left with, why it was dropped, or that no program took it for its own. */
export type Sent = TransportAddress4 | DropReason | 'untranslated';

export interface Bench extends Disposable {
  /** Nothing lies there yet. */
  readonly site: DatapathSite;
  /** What programs are to hang on. */
  readonly device: TestPrograms['device'];
  /** One packet 6to4, seen by whatever program is attached. */
  send(flow: Flow): Sent;
  /** Everything that is there has stood idle for so much longer. */
  pass(ms: number): void;
  /** Both ends of each TCP connection of these have said that they are done; when they were last heard stays. */
  finish(sessions: readonly SessionRow[]): void;
  /** DNS64 has answered with the address; that counts for so long. */
  admit(v4: number, seconds: number): void;
  /** What events there are have been told once this is over. */
  settle(): Promise<void>;
  /** The events of `act` get lost, as when nobody reads them for long. */
  losingEvents(act: () => void): void;
  /** The slot's queue forgets a block, as when a process dies between two steps. */
  loseFromQueue(slot: number, index: number): void;
  /** Somebody clears what hangs on the device. */
  detach(): void;
  /** While `act` runs no program can be loaded. */
  whileLoadsFail(act: () => void): void;
  /** While `act` runs the device is gone; it comes back as the same, with nothing on it. */
  withoutDevice(act: () => void): void;
  /** Makes an open data plane as if nothing had happened to it; false where another is made as fast. */
  wipe(datapath: Datapath): boolean;
}

export const NO_PORTS = { tcp: [], udp: [], icmp: [] } as const;
export const PREFIX = parsePrefix64('2001:db8:64::/96');
export const SERVER = parseIp4('198.51.100.7');
export const FIRST_ADDRESS = parseIp4('203.0.113.1');
export const FIRST_PORT = 40_000;
/** One value throughout: programs are loaded with it, so another means a load. */
export const IDLE_MS = 60_000;
export const SIZES: DatapathSizes = { maxSessions: 1024, maxBlocks: 1024 };

/** The pods of a node differ in the last bits alone. */
export function pod(n: number): Uint8Array {
  const v6 = parseIp6('2001:db8:1::');
  new DataView(v6.buffer, v6.byteOffset).setUint32(12, n);
  return v6;
}

export const textOf = ({ v4, port }: TransportAddress4): string => `${v4}:${port}`;

export interface Stock {
  readonly addresses?: number;
  /** Of each address. */
  readonly blocks?: number;
  /** Ports of a block. */
  readonly size?: number;
  readonly draining?: readonly number[];
  readonly shared?: readonly number[];
}

export interface Packet {
  readonly protocol?: Protocol;
  readonly to?: number;
  readonly port?: number;
}

/** A data plane with the settings of tests, and the hands that the cases need. */
export class Stage implements Disposable {
  readonly bench: Bench;
  readonly sizes: DatapathSizes;
  datapath: Datapath;
  #programs: TestPrograms;

  constructor(bench: Bench, programs: Partial<TestPrograms> = {}, sizes: Partial<DatapathSizes> = {}) {
    this.bench = bench;
    this.sizes = { ...SIZES, ...sizes };
    this.#programs = this.#usual(programs);
    this.datapath = bench.site.open(programsOf(this.#programs), this.sizes);
  }

  /** For another case, as if it were new; false when that cannot be. */
  clear(programs: Partial<TestPrograms> = {}): boolean {
    if (!this.bench.wipe(this.datapath)) return false;
    this.#programs = this.#usual(programs);
    this.datapath.setPrograms(programsOf(this.#programs));
    return true;
  }

  #usual(programs: Partial<TestPrograms>): TestPrograms {
    const { device } = this.bench;
    return testPrograms({ prefixes: [PREFIX], device, maxBlocksPerPod: 2, slots: 1, ...programs });
  }

  /** Programs that differ from those of before in `changed`; prefixes keep the places that they have. */
  wanted(changed: Partial<TestPrograms> = {}): ProgramConfig {
    this.#programs = { ...this.#programs, ...changed };
    return programsOf(this.#programs, this.datapath.places());
  }

  /** As a process does that finds nothing, its predecessor long gone. */
  begin(): void {
    this.datapath = this.bench.site.open(programsOf(this.#programs), this.sizes);
  }

  /** The next process, which finds what this one left. */
  reopen(sizes: Partial<DatapathSizes> = {}): void {
    const programs = this.wanted();
    this.datapath[Symbol.dispose]();
    this.datapath = this.bench.site.open(programs, { ...this.sizes, ...sizes });
  }

  /** Addresses in order of their slots. */
  tellAddresses({ addresses = 1, draining = [], shared = [] }: Stock = {}): void {
    this.datapath.setPoolAddresses(
      Array.from({ length: addresses }, (_, slot): PoolAddress => {
        const [isShared, isDraining] = [shared.includes(slot), draining.includes(slot)];
        return { v4: FIRST_ADDRESS + slot, slot, shared: isShared, draining: isDraining };
      }),
    );
  }

  /** Tells of a pool and offers all of it; block `i` of an address begins at FIRST_PORT + i · size. */
  stock(stock: Stock = {}): void {
    const { addresses = 1, blocks = 1, size = 16 } = stock;
    this.tellAddresses(stock);
    for (let slot = 0; slot < addresses; slot++) {
      for (let i = 0; i < blocks; i++) {
        const index = slot * blocks + i;
        this.write(index, FIRST_PORT + i * size, { slot, size });
        this.datapath.offerBlock(index);
      }
    }
  }

  write(
    index: number,
    firstPort: number,
    { slot = 0, size = 16, statics = NO_PORTS as Readonly<Record<Protocol, readonly number[]>> } = {},
  ): void {
    this.datapath.writeBlock({ index, slot, v4: FIRST_ADDRESS + slot, firstPort, size }, statics);
  }

  flow(n: number, from: number, { protocol = 'udp', to = SERVER, port = 53 }: Packet = {}): Flow {
    return { protocol, source: { v6: pod(n), port: from }, destination6: embedIp4(PREFIX, to), port };
  }

  send(n: number, from: number, packet: Packet = {}): Sent {
    return this.bench.send(this.flow(n, from, packet));
  }

  /** T,t of a packet that must have passed. */
  passed(n: number, from: number, packet: Packet = {}): TransportAddress4 {
    const sent = this.send(n, from, packet);
    if (typeof sent === 'string') throw new Error(`${formatIp6(pod(n))} port ${from}: ${sent}`);
    return sent;
  }

  /** Nothing is left of sessions, and pods have given their blocks back. */
  wear(): readonly BlockRow[] {
    // Longer than the longest timeout of testPrograms. One walk may step over a neighbour of what it deletes.
    this.bench.pass(10_000_000);
    for (let walk = 0; walk < 2; walk++) this.datapath.sweep(IDLE_MS);
    this.bench.pass(IDLE_MS + 1000);
    return this.datapath.sweep(IDLE_MS).returned;
  }

  block(index: number): BlockRow {
    const row = this.datapath.blocks().find((one) => one.index === index);
    if (row === undefined) throw new Error(`there is no block ${index}`);
    return row;
  }

  states(): string[] {
    return this.datapath
      .blocks()
      .toSorted((a, b) => a.index - b.index)
      .map(({ state }) => state);
  }

  session(n: number, from: number): SessionRow | undefined {
    const name = formatIp6(pod(n));
    return this.datapath.sessions().find(({ source }) => formatIp6(source.v6) === name && source.port === from);
  }

  [Symbol.dispose](): void {
    this.datapath[Symbol.dispose]();
    this.bench[Symbol.dispose]();
  }
}

/** What a case gets: makes the one stage that it plays on. With sizes of its own that is a new one. */
export type Play = (programs?: Partial<TestPrograms>, sizes?: Partial<DatapathSizes>) => Stage;
