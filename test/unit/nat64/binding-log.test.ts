// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import type { StaticBinding } from '../../../src/model/binding.ts';
import { BindingLog } from '../../../src/nat64/binding-log.ts';
import { Nat64 } from '../../../src/nat64/nat64.ts';
import { IDLE_BLOCK_SECONDS } from '../../../src/nat64/timeouts.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import { eventually } from '../../helpers/processes.ts';
import { desired, fakeDatapath, flow, passed, pod, TestClock, TestLog } from './support.ts';

const STATIC: StaticBinding = {
  protocol: 'tcp',
  source: { v6: pod(5), port: 80 },
  pool: { v4: parseIp4('192.0.2.1'), port: 80 },
};
const HOUR_MS = 3_600_000;

describe('binding log', () => {
  let folder: string;
  let path: string;
  let clock: TestClock;
  let log: TestLog;
  let datapath: FakeDatapath;
  let bindings: BindingLog;
  let nat64: Nat64;

  /** A process over the same maps. */
  const start = async (statics: readonly StaticBinding[] = [], podPrefixLength = 128) => {
    const before = records().length;
    bindings = new BindingLog({ log, clock });
    nat64 = new Nat64({ datapath, log, clock, bindings });
    nat64.start(desired({ static: statics }, {}));
    bindings.configure({ bindingLog: path, podPrefixLength }, datapath);
    await eventually('it begins', () => Promise.resolve(records().length > before ? true : undefined));
  };
  const stop = async () => {
    nat64.stop();
    await bindings.stop();
  };
  const records = (at = path) =>
    (existsSync(at) ? readFileSync(at, 'utf8') : '')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const now = () => new Date(clock.wall()).toISOString();
  const lease = (index: number) => passed(flow(datapath, index, 1000));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gate64-bindings-'));
    path = join(folder, 'bindings.jsonl');
    clock = new TestClock();
    log = new TestLog();
    datapath = fakeDatapath(clock);
  });
  afterEach(async () => {
    await stop();
    rmSync(folder, { recursive: true });
  });

  it('says who has which ports since when, and until when, and no destination', async () => {
    await start();
    const from = now();
    const { port } = lease(1).pool;
    lease(1);
    clock.advance(HOUR_MS);
    await stop();
    const [opened, began, ended, ...others] = records();
    expect(opened).to.deep.equal({ at: from, event: 'opened', held: 0 });
    const { firstPort, lastPort, ...who } = began ?? {};
    expect(who).to.deep.equal({
      at: from,
      event: 'began',
      kind: 'block',
      pod: '2001:db8:1::1',
      address: '192.0.2.1',
      from,
      to: null,
    });
    expect(port).to.be.within(Number(firstPort), Number(lastPort));
    expect(ended).to.deep.equal({ ...began, at: ended?.['at'], event: 'ended', to: ended?.['at'] });
    expect(Date.parse(String(ended?.['to'])) - Date.parse(from)).to.be.greaterThan(IDLE_BLOCK_SECONDS * 1000);
    expect(others).to.deep.equal([]);
  });

  it('has what was leased while the service was down, with its time, and its end', async () => {
    await start();
    lease(1);
    await stop();
    clock.advance(1000);
    const from = now();
    lease(2);
    clock.advance(1000);
    await start();
    clock.advance(HOUR_MS);
    await stop();
    const of = (name: string) =>
      records().flatMap(({ event, pod: who, from: since, to }) => (who === name ? [[event, since, to !== null]] : []));
    expect(of('2001:db8:1::2')).to.deep.equal([
      ['held', from, false],
      ['ended', from, true],
    ]);
    expect(of('2001:db8:1::1').map(([event]) => event)).to.deep.equal(['began', 'held', 'ended']);
  });

  it('begins a file that was made anew with what is held', async () => {
    await start([STATIC]);
    lease(1);
    await bindings.stop();
    renameSync(path, `${path}.1`);
    bindings.configure({ bindingLog: path, podPrefixLength: 128 }, datapath);
    await stop();
    expect(records().map(({ event, kind }) => [event, kind])).to.deep.equal([
      ['opened', undefined],
      ['held', 'block'],
      ['held', 'static'],
    ]);
    expect(records()[0]?.['held']).to.equal(2);
  });

  it('has static bindings, with the time that they came into force at', async () => {
    const from = now();
    await start([STATIC]);
    clock.advance(1000);
    await stop();
    await start([STATIC]);
    nat64.converge(desired({ static: [] }, {}));
    const to = now();
    nat64.converge(desired({ static: [STATIC] }, {}));
    await stop();
    const own = { kind: 'static', protocol: 'tcp', pod: '2001:db8:1::5', podPort: 80, address: '192.0.2.1' };
    const ports = { firstPort: 80, lastPort: 80 };
    const statics = records().filter(({ kind }) => kind === 'static');
    expect(statics).to.deep.equal([
      { at: from, event: 'held', ...own, ...ports, from, to: null },
      { at: to, event: 'held', ...own, ...ports, from, to: null },
      { at: to, event: 'ended', ...own, ...ports, from, to },
      { at: to, event: 'began', ...own, ...ports, from: to, to: null },
    ]);
  });

  it('names the prefix where a pod has one, and is silent when it is off', async () => {
    await start([], 64);
    lease(1);
    bindings.configure({ bindingLog: '', podPrefixLength: 64 }, datapath);
    lease(2);
    await eventually('it is written', () => Promise.resolve(records().length > 1 ? true : undefined));
    expect(records().flatMap(({ pod: who }) => who ?? [])).to.deep.equal(['2001:db8:1::1/64']);
  });
});
