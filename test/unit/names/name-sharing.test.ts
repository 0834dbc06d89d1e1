// SPDX-License-Identifier: Apache-2.0
// Names that come from a DNS64 elsewhere, by HTTP on loopback: all of them, what is new, who gets none, and who lies.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { formatIp4, parseIp4 } from '../../../src/addr/ip.ts';
import { NameFollower, type FollowerOptions, type NameSource } from '../../../src/names/name-follower.ts';
import { NameTable } from '../../../src/names/name-table.ts';
import { Names, type NameSettings } from '../../../src/names/names.ts';
import { HttpEndpoint } from '../../../src/telemetry/http.ts';
import { Logger } from '../../../src/telemetry/logger.ts';
import { Metrics } from '../../../src/telemetry/metrics.ts';
import type { ServiceStatus } from '../../../src/telemetry/status.ts';
import { eventually } from '../../helpers/processes.ts';

const V4 = parseIp4('192.0.2.1');
const CLIENT = '2001:db8:1::2';
const QUIET = { info: () => undefined, warn: () => undefined };

describe('names of a DNS64 elsewhere', () => {
  const directory = mkdtempSync(join(tmpdir(), 'gate64-names-'));
  const namesToken = join(directory, 'token');
  const open: { close: () => Promise<unknown> }[] = [];
  const followers: NameFollower[] = [];

  beforeEach(() => writeFileSync(namesToken, 'secret\n'));
  afterEach(async () => {
    for (const follower of followers.splice(0)) follower.stop();
    for (const each of open.splice(0)) await each.close();
  });
  after(() => rmSync(directory, { recursive: true }));

  const settings: NameSettings = { namesInMetrics: 0, shareNames: true, namesFrom: [], namesToken };
  const log = new Logger({ level: 'error', format: 'json' });
  const newNames = (changed: Partial<NameSettings> = {}) =>
    new Names(() => ({ ...settings, ...changed }), log, new Metrics());

  async function serve(names: Names, port = 0): Promise<NameSource & { endpoint: HttpEndpoint }> {
    const endpoint = await HttpEndpoint.start({
      listen: { host: '127.0.0.1', port },
      metrics: new Metrics(),
      status: () => ({}) as ServiceStatus,
      names: (after, authorization) => names.reply(after, authorization),
    });
    open.push(endpoint);
    return { host: '127.0.0.1', port: endpoint.port, endpoint };
  }

  async function serveRaw(listener: RequestListener): Promise<NameSource> {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    open.push({
      close: () => {
        server.closeAllConnections();
        return new Promise((resolve) => server.close(resolve));
      },
    });
    return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  }

  function follow(source: NameSource, options: Partial<FollowerOptions> = {}) {
    const table = new NameTable();
    const follower = new NameFollower({
      table,
      sources: () => [source],
      token: () => 'secret',
      log: QUIET,
      intervalMs: 20,
      ...options,
    });
    followers.push(follower);
    return { table, follower };
  }

  const reason = (follower: NameFollower) =>
    eventually('it fails', async () => (await Promise.resolve(follower.status)).failing[0]?.reason);
  const has = (table: NameTable, v4: number, name: string) =>
    eventually(`${name} is there`, async () =>
      (await Promise.resolve(table)).namesOf(v4).includes(name) ? true : undefined,
    );

  it('come all, in pieces, with their times and clients', async () => {
    const names = newNames();
    for (let i = 0; i < 1700; i++) names.table.remember(`n${i}.example`, V4 + i, 60, i % 2 ? CLIENT : '');
    const { table } = follow(await serve(names));
    await eventually('all are there', async () => ((await Promise.resolve(table)).size === 1700 ? true : undefined));
    const now = Date.now();
    const [theirs, ours] = [names.table, table].map((each) => each.records(now));
    const byName = (a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name);
    for (const [i, record] of (ours ?? []).toSorted(byName).entries()) {
      const original = (theirs ?? []).toSorted(byName)[i];
      expect([record.name, formatIp4(record.v4), record.client]).to.deep.equal([
        original?.name,
        formatIp4(original?.v4 ?? 0),
        original?.client,
      ]);
      expect(record.countsUntil).to.be.closeTo(original?.countsUntil ?? 0, 1000);
    }
  });

  it('come as they are answered, from a process that begins anew, too', async () => {
    const first = newNames();
    const source = await serve(first);
    const { table, follower } = follow(source);
    first.table.remember('a.example', V4, 60);
    await has(table, V4, 'a.example');
    first.table.remember('b.example', V4, 60);
    await has(table, V4, 'b.example');
    await source.endpoint.close();
    expect(await reason(follower)).to.match(/ECONNREFUSED|socket hang up|ECONNRESET/);
    const second = newNames();
    second.table.remember('c.example', V4, 60);
    await serve(second, source.port);
    await has(table, V4, 'c.example');
    expect(follower.status.following).to.deep.equal([`127.0.0.1:${source.port}`]);
  });

  it('are told again seldom, and anew when they are forgotten in between', () => {
    let now = 0;
    const names = newNames();
    const table = new NameTable({ now: () => now, maxRecords: 2 });
    Object.assign(names, { table });
    const ask = (after: string) =>
      JSON.parse(names.reply(after, 'Bearer secret').body) as { next: string; records: { name: string }[] };
    table.remember('a.example', V4, 60);
    const all = ask('');
    expect(all.records.map(({ name }) => name)).to.deep.equal(['a.example']);
    now = 10_000;
    table.remember('a.example', V4, 60);
    expect(ask(all.next).records, 'ten seconds later').to.deep.equal([]);
    now = 40_000;
    table.remember('a.example', V4, 60);
    expect(ask(all.next).records, 'forty seconds later').to.have.length(1);
    table.remember('b.example', V4 + 1, 60);
    table.remember('c.example', V4 + 2, 60);
    expect(ask('').records.map(({ name }) => name)).to.deep.equal(['b.example', 'c.example']);
    table.remember('a.example', V4, 60);
    expect(ask('').records.map(({ name }) => name)).to.deep.equal(['c.example', 'a.example']);
    expect(ask('other-process.7').records, 'a version of another process').to.have.length(2);
  });

  const refusals: [string, Partial<NameSettings>, string | undefined, number, RegExp][] = [
    ['who shows no token', {}, undefined, 401, /token/],
    ['who shows another token', {}, 'Bearer secre', 401, /token/],
    ['anybody where names are not shared', { shareNames: false }, 'Bearer secret', 404, /shareNames/],
    ['anybody where there is no token', { namesToken: '/nonexistent' }, 'Bearer ', 404, /\/nonexistent/],
  ];
  for (const [who, changed, authorization, code, text] of refusals) {
    it(`are not told to ${who}`, () => {
      const names = newNames(changed);
      names.table.remember('a.example', V4, 60);
      const reply = names.reply('', authorization);
      expect(reply.code).to.equal(code);
      expect(reply.body).to.match(text).and.to.not.include('a.example');
    });
  }

  it('are not told for an empty token', () => {
    writeFileSync(namesToken, '\n');
    expect(newNames().reply('', 'Bearer ').code).to.equal(404);
  });

  it('an old token that is replaced is asked with no more', async () => {
    const names = newNames();
    names.table.remember('a.example', V4, 60);
    let token: string | undefined = 'old';
    const { table, follower } = follow(await serve(names), { token: () => token });
    expect(await reason(follower)).to.match(/^HTTP 401/);
    token = undefined;
    await eventually('nobody is asked', async () =>
      (await Promise.resolve(follower)).status.failing.length === 0 ? true : undefined,
    );
    token = 'secret';
    await has(table, V4, 'a.example');
  });

  it('times are the sender’s, whose clock may be wrong by a day', async () => {
    const theirNow = Date.now() + 86_400_000;
    const record = { name: 'a.example', address: '192.0.2.1', firstAt: theirNow - 5000, lastAt: theirNow - 5000 };
    const source = await serveRaw((_, response) =>
      response.end(
        JSON.stringify({
          next: 'x.1',
          isMore: false,
          now: theirNow,
          records: [{ ...record, countsUntil: theirNow + 60_000 }],
        }),
      ),
    );
    const { table } = follow(source);
    await has(table, V4, 'a.example');
    const [held] = table.records(Date.now());
    expect(held?.firstAt).to.be.closeTo(Date.now() - 5000, 1500);
    expect(held?.countsUntil).to.be.closeTo(Date.now() + 60_000, 1500);
  });

  const good = { name: 'good.example', address: '192.0.2.1', firstAt: 1, lastAt: 1, countsUntil: 10_000_000 };
  const reply = (records: unknown[]) => JSON.stringify({ next: 'x.1', isMore: false, now: 1, records });
  it('what is no name of it is left out', async () => {
    const bad = [
      { ...good, name: '\u001b[2J' },
      { ...good, name: 'x'.repeat(2000) },
      { ...good, address: 'nonsense' },
      { ...good, client: '192.0.2.9' },
      { ...good, countsUntil: 'late' },
      null,
      7,
      [],
    ];
    const { table } = follow(await serveRaw((_, response) => response.end(reply([...bad, good]))));
    await has(table, V4, 'good.example');
    expect(table.size).to.equal(1);
  });

  const liars: [string, RequestListener, RegExp][] = [
    ['is no JSON', (_, response) => response.end('<html>'), /JSON/],
    ['is JSON of something else', (_, response) => response.end('null'), /no names/],
    ['never ends', (_, response) => pour(response), /too long/],
    [
      'is an error page',
      (_, response) => response.writeHead(500).end('\u001b[31moops\nmore'),
      /^HTTP 500: "\\u001b\[31moops"$/,
    ],
    ['breaks off', (_, response) => response.write('{', () => response.destroy()), /aborted|hang up|ECONNRESET/],
  ];
  function pour(response: {
    write: (text: string) => boolean;
    on: (event: 'drain', f: () => void) => unknown;
    destroyed: boolean;
  }) {
    const more = () => {
      for (let i = 0; i < 64 && !response.destroyed; i++) if (!response.write('x'.repeat(65_536))) return;
    };
    response.on('drain', more);
    more();
  }
  for (const [what, listener, expected] of liars) {
    it(`an answer that ${what} is said and harms nothing`, async () => {
      const { table, follower } = follow(await serveRaw(listener));
      expect(await reason(follower)).to.match(expected);
      expect(table.size).to.equal(0);
    });
  }

  it('one that always says there is more is asked a bounded number of times a round', async () => {
    let asked = 0;
    const source = await serveRaw((_, response) => {
      asked++;
      response.end(JSON.stringify({ next: `x.${asked}`, isMore: true, now: 1, records: [] }));
    });
    const { follower } = follow(source, { intervalMs: 60_000 });
    await eventually(
      'the round ends',
      async () => ((await Promise.resolve(follower)).status.following.length > 0 ? true : undefined),
      20_000,
    );
    expect(asked).to.equal(200);
  }).timeout(30_000);

  it('a host name that is none is said, once', async () => {
    const said: object[] = [];
    const log = { ...QUIET, warn: (fields: object) => void said.push(fields) };
    const { follower } = follow({ host: 'nowhere.invalid', port: 9164 }, { log });
    expect(await reason(follower)).to.match(/ENOTFOUND|EAI_AGAIN/);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(said.length).to.be.within(1, 2);
  });
});
