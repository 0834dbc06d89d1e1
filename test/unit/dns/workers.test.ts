// SPDX-License-Identifier: Apache-2.0
// Several processes that answer on one port: who answers, what is counted, and that none of them is missed.

import { createSocket } from 'node:dgram';
import { expect } from 'chai';
import type { Endpoint } from '../../../src/addr/ip.ts';
import { parseIp4, parseIp6Net } from '../../../src/addr/ip.ts';
import type { DnsSettings } from '../../../src/dns/dns.ts';
import { DnsMetrics } from '../../../src/dns/metrics.ts';
import { WorkerPool, type PoolOptions } from '../../../src/dns/worker-pool.ts';
import { Metrics } from '../../../src/telemetry/metrics.ts';
import { eventually } from '../../helpers/processes.ts';
import { samples } from '../telemetry/samples.ts';
import { P6, destinations, exchangeTcp, exchangeUdp, query, see } from './harness.ts';
import { ScriptedServer, T, rr } from './scripted-server.ts';
import { Load, isAlive } from './worker-load.ts';

const WORKERS = 3;
const LISTENERS = ['batched', 'dgram'] as const;

describe('DNS workers', function () {
  this.timeout(30_000);
  let upstream: ScriptedServer;
  let pool: WorkerPool;
  let metrics: Metrics;
  let told: { name: string; v4: number; client: string }[];
  let lines: { message: string; fields: Record<string, unknown> }[];
  let options: PoolOptions;

  async function start(changes: Partial<DnsSettings> = {}): Promise<void> {
    metrics = new Metrics();
    told = [];
    lines = [];
    const note = (fields: object, message: string) => {
      lines.push({ message, fields: fields as Record<string, unknown> });
    };
    options = {
      prefixes: [P6],
      listen: [{ family: 4, host: '127.0.0.1', port: 0 }],
      upstreams: [{ kind: 'plain', endpoint: upstream.endpoint }],
      translateAll: false,
      excludeAaaa: [parseIp6Net('::ffff:0:0/96')],
      destinations: destinations(),
      cache: { maxEntries: 1000, maxBytes: 2 ** 24 },
      ...changes,
      observer: new DnsMetrics(metrics, () => pool.stats),
      log: { info: note, warn: note },
      onSynthesized: (name, v4, _ttl, client) => void told.push({ name, v4, client }),
    };
    pool = await WorkerPool.start(options, WORKERS);
  }

  const port = () => pool.listeners[0]?.port ?? 0;
  const isAllUp = () => (pool.workers.running === WORKERS ? true : undefined);
  /** From so many ports that each worker has its turn: that none has is 3 × (2/3)^100. */
  async function askAll(name: string, clients = 100): Promise<string[]> {
    const answers = await Promise.all(Array.from({ length: clients }, () => exchangeUdp(port(), query({ name }))));
    return answers.map(([bytes]) => (bytes ? see(bytes).answers.join(', ') : 'none'));
  }

  beforeEach(async () => {
    upstream = await ScriptedServer.start();
    upstream.fallback = { answers: [rr.a('any.example', '192.0.2.7')] };
    upstream.on('a.example', T.A, { answers: [rr.a('a.example', '192.0.2.1')] });
    upstream.on('a.example', T.AAAA, {});
    upstream.on('dual.example', T.A, { answers: [rr.a('dual.example', '192.0.2.2')] });
    upstream.on('dual.example', T.AAAA, { answers: [rr.aaaa('dual.example', '2001:db8:1::2')] });
  });
  afterEach(async () => {
    await pool.stop();
    await upstream.stop();
  });

  for (const listener of LISTENERS) {
    it(`each answers some of 300 clients and asks upstream once (${listener})`, async () => {
      await start({ listener });
      const answers = await askAll('a.example', 300);
      expect([...new Set(answers)]).to.deep.equal(['a.example AAAA 300 2001:db8:64::c000:201']);
      expect(upstream.count('a.example', T.AAAA)).to.equal(WORKERS);
      expect(pool.workers).to.deep.equal({ running: WORKERS, wanted: WORKERS });
    });
  }

  it('TCP is shared too, and what all counted and synthesized is told as of one', async () => {
    await start();
    await askAll('a.example', 90);
    for (let i = 0; i < 10; i++) await exchangeTcp(port(), [query({ name: 'a.example' })]);
    const values = await eventually('the counts are told', async () => {
      const values = await samples(metrics);
      return (values.get('gate64_dns64_synthesized_total') ?? 0) >= 100 && pool.stats.cacheEntries > 0
        ? values
        : undefined;
    });
    expect(values.get('gate64_dns_requests_total{proto="udp",type="AAAA"}')).to.equal(90);
    expect(values.get('gate64_dns_requests_total{proto="tcp",type="AAAA"}')).to.equal(10);
    expect(values.get('gate64_dns_responses_total{rcode="NOERROR"}')).to.equal(100);
    expect(values.get('gate64_dns64_synthesized_total')).to.equal(100);
    expect(values.get('coredns_dns64_requests_translated_total{server="dns://"}')).to.equal(100);
    expect(values.get('gate64_dns_request_duration_seconds_count')).to.equal(100);
    expect(values.get('gate64_dns_request_duration_seconds_bucket{le="+Inf"}')).to.equal(100);
    const to = `127.0.0.1:${upstream.endpoint.port}`;
    expect(values.get(`gate64_dns_upstream_duration_seconds_count{to="${to}"}`)).to.equal(upstream.asked.length);
    await eventually('the cache is told', async () =>
      ((await samples(metrics)).get('gate64_dns_cache_entries') ?? 0) >= WORKERS ? true : undefined,
    );
    expect(told[0]).to.deep.equal({ name: 'a.example', v4: parseIp4('192.0.2.1'), client: '127.0.0.1' });
  });

  it('a program of somebody else keeps its port, though it would share it', async () => {
    const other = createSocket({ type: 'udp4', reusePort: true });
    await new Promise<void>((bound) => other.bind(0, '127.0.0.1', bound));
    const taken: Endpoint = { family: 4, host: '127.0.0.1', port: other.address().port };
    await start();
    try {
      const error: unknown = await pool
        .reload({ ...options, listen: [...options.listen, taken] })
        .catch((e: unknown) => e);
      expect(error).to.have.property('code', 'G64_LISTEN');
      expect(await askAll('a.example')).to.not.include('none');
    } finally {
      other.close();
    }
  });

  it('a reload changes all or, when one of them refuses, none', async () => {
    await start();
    const real = 'dual.example AAAA 300 2001:db8:1::2';
    const synthesized = 'dual.example AAAA 300 2001:db8:64::c000:202';
    expect([...new Set(await askAll('dual.example'))]).to.deep.equal([real]);
    // A file that is there for the first of them alone.
    const resolvConfPath = `/proc/self/task/${pool.pids[0]}/comm`;
    const refused = { ...options, translateAll: true, upstreams: 'resolv.conf' as const, resolvConfPath };
    const error: unknown = await pool.reload(refused).catch((e: unknown) => e);
    expect(error).to.have.property('code', 'G64_DNS_UPSTREAM');
    expect(error).to.have.property('hint', 'set dns.upstreams in the configuration');
    expect([...new Set(await askAll('dual.example'))]).to.deep.equal([real]);
    await pool.reload({ ...options, translateAll: true });
    expect([...new Set(await askAll('dual.example'))]).to.deep.equal([synthesized]);
    expect(pool.workers.running).to.equal(WORKERS);
  });

  it('reloads and changed destinations under load lose nothing, and one started later has them', async () => {
    await start();
    const load = new Load(port(), 40, (i) => `n${i % 50}.example`);
    for (let i = 0; i < 6; i++) {
      await pool.reload({ ...options, excludeAaaa: [parseIp6Net(`2001:db8:${i}::/48`)], translateAll: i % 2 === 0 });
      pool.setDestinations(destinations({ deny: [{ v4: parseIp4('192.0.2.1'), length: 32 }] }));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const result = await load.end();
    expect(result.unanswered).to.deep.equal([]);
    expect(result.asked).to.be.greaterThan(300);
    process.kill(pool.pids[1] as number, 'SIGKILL');
    await eventually('it is gone', () => (pool.workers.running < WORKERS ? true : undefined), 2000, 1);
    await eventually('it is back', isAllUp);
    expect([...new Set(await askAll('a.example'))], '192.0.2.1 is denied').to.deep.equal(['']);
  });

  it('one that is killed under load costs nobody more than a second question', async () => {
    await start();
    const load = new Load(port(), 60, (i) => `n${i % 500}.example`);
    await eventually('there is load', () => (load.asked > 500 ? true : undefined));
    const killed = pool.pids[0] as number;
    process.kill(killed, 'SIGKILL');
    await eventually('another has its place', () => (!pool.pids.includes(killed) && isAllUp() ? true : undefined));
    const before = load.asked;
    await eventually('there is more load', () => (load.asked > before + 500 ? true : undefined));
    const result = await load.end();
    expect(result.unanswered).to.deep.equal([]);
    expect(lines.map(({ message }) => message)).to.include('a DNS worker has ended; it is started again');
    // What the killed one had counted in its last moments is lost, and no more.
    const received = await eventually('the counts are told', async () => {
      const count = (await samples(metrics)).get('gate64_dns_requests_total{proto="udp",type="AAAA"}') ?? 0;
      return count > result.sent * 0.7 ? count : undefined;
    });
    expect(received).to.be.at.most(result.sent);
  });

  it('one that dies again and again is started after longer and longer times', async () => {
    await start();
    const delays = () =>
      lines.flatMap(({ fields }) => (typeof fields['startsInMs'] === 'number' ? [fields['startsInMs']] : []));
    for (let i = 1; i <= 3; i++) {
      const pid = await eventually('the first place has one', () => (isAllUp() ? pool.pids[0] : undefined));
      process.kill(pid, 'SIGKILL');
      await eventually('its end is known', () => (delays().length === i ? true : undefined));
    }
    expect(delays()).to.deep.equal([0, 1000, 2000]);
    expect(pool.workers).to.deep.equal({ running: WORKERS - 1, wanted: WORKERS });
    expect(pool.ready()).to.equal(true);
    expect(await askAll('a.example')).to.not.include('none');
  });

  it('none is left when it has stopped, nor when it could not start', async () => {
    await start();
    const { pids } = pool;
    expect(pids).to.have.length(WORKERS);
    await pool.stop();
    expect(pids.filter(isAlive)).to.deep.equal([]);
    const error: unknown = await WorkerPool.start({ ...options, tls: { ca: '/nonexistent' } }, 2).catch(
      (e: unknown) => e,
    );
    expect(error).to.have.property('code', 'G64_CONFIG_INVALID');
  });
});
