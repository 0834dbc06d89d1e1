// SPDX-License-Identifier: Apache-2.0
// The data plane in memory keeps the contract, or tests built on it would prove nothing.

import type { SessionRow } from '../../../src/datapath/datapath.ts';
import { datapathContract } from '../../contract/datapath.ts';
import type { Bench, Flow, Sent } from '../../contract/bench.ts';
import { FakeSite } from '../../fakes/site.ts';

class FakeBench implements Bench {
  readonly site: FakeSite;
  readonly device = { ifindex: 7, mac: new Uint8Array(6), mtu: 1500 };
  #now = Date.parse('2026-01-01T00:00:00Z');

  constructor() {
    this.site = new FakeSite(() => this.#now);
  }

  send(flow: Flow): Sent {
    const { datapath } = this.site;
    if (datapath !== undefined) datapath.sweepStep = 64;
    const result = datapath?.openFlow(flow) ?? 'untranslated';
    return typeof result === 'string' ? result : result.pool;
  }

  pass(ms: number): void {
    this.#now += ms;
  }

  finish(sessions: readonly SessionRow[]): void {
    for (const session of sessions) this.site.datapath?.finishFlow(session);
  }

  admit(v4: number, seconds: number): void {
    this.site.datapath?.admit(v4, seconds);
  }

  async settle(): Promise<void> {
    // They are told of at once.
  }

  losingEvents(act: () => void): void {
    this.site.datapath?.losingEvents(act);
  }

  loseFromQueue(_slot: number, index: number): void {
    this.site.datapath?.loseFromQueue(index);
  }

  detach(): void {
    if (this.site.datapath !== undefined) this.site.datapath.isAttached = false;
  }

  whileLoadsFail(act: () => void): void {
    this.site.refuses = () => true;
    act();
    this.site.refuses = () => false;
  }

  withoutDevice(act: () => void): void {
    const { datapath } = this.site;
    if (datapath === undefined) throw new Error('nothing is there');
    datapath.isAttached = datapath.canAttach = false;
    act();
    datapath.canAttach = true;
  }

  wipe(): boolean {
    return false;
  }

  [Symbol.dispose](): void {
    this.site.remove();
  }
}

datapathContract('datapath/fake', () => new FakeBench());
