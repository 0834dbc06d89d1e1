// SPDX-License-Identifier: Apache-2.0
// Where a data plane in memory lies: it outlives the one that opened it, as pinned maps do.

import type { DatapathSite, DatapathSizes, HookRow, ProgramConfig } from '../../src/datapath/datapath.ts';
import type { DatapathFacts } from '../../src/model/facts.ts';
import { Gate64Error } from '../../src/errors.ts';
import { FakeDatapath } from './datapath.ts';

export class FakeSite implements DatapathSite {
  /** The data plane that is there. */
  datapath: FakeDatapath | undefined;
  /** What facts() says besides what the data plane itself does. */
  leased: readonly number[] = [];
  /** Programs that cannot be loaded. */
  refuses: (programs: ProgramConfig) => boolean = () => false;
  /** Folders that another version left; they go as this one begins. */
  others: string[] = [];
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  isThere(): boolean {
    return this.datapath !== undefined;
  }

  facts(): DatapathFacts {
    const held = this.datapath?.blocks().filter(({ state }) => state === 'leased') ?? [];
    return {
      leased: [...new Set([...this.leased, ...held.map(({ v4 }) => v4)])],
      shared: this.datapath?.sharedAddresses() ?? [],
      places: this.datapath?.places() ?? [],
    };
  }

  otherLayouts(): string[] {
    return [...this.others];
  }

  hooks(): HookRow[] {
    return [];
  }

  packetsSeen(): number {
    return 0;
  }

  open(programs: ProgramConfig, sizes: DatapathSizes): FakeDatapath {
    if (this.refuses(programs)) throw new Gate64Error('G64_DATAPATH_LOAD', 'the BPF object cannot be loaded');
    const why = this.datapath === undefined ? undefined : misfit(this.datapath.sizes, sizes);
    if (this.datapath !== undefined && why === undefined) {
      this.datapath.isAdopted = true;
    } else {
      const replaced = why === undefined ? {} : { replaced: why };
      this.datapath = new FakeDatapath({ programs, sizes, now: this.#now, ...replaced });
      this.datapath.refuses = (wanted) => this.refuses(wanted);
    }
    this.datapath.setPrograms(programs);
    this.others = [];
    return this.datapath;
  }

  remove(): boolean {
    const had = this.isThere();
    this.datapath = undefined;
    return had;
  }
}

/** Maps keep their size for life. */
function misfit(there: DatapathSizes, asked: DatapathSizes): string | undefined {
  const [has, wants] = [there.maxBlocks ?? 16384, asked.maxBlocks ?? 16384];
  if (there.maxSessions !== asked.maxSessions) return `${there.maxSessions} sessions, ${asked.maxSessions} configured`;
  return has < wants ? `${has} blocks, ${wants} configured` : undefined;
}
