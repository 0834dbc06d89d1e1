// SPDX-License-Identifier: Apache-2.0
// The service with workers, as a process: what it says of them, its drain, its sudden end.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ServiceStatus } from '../../../src/telemetry/status.ts';
import { metricSum } from '../../helpers/gate64.ts';
import { eventually, start, type Background } from '../../helpers/processes.ts';
import { ScriptedServer, rr } from './scripted-server.ts';
import { Load, isAlive } from './worker-load.ts';

const MAIN = join(import.meta.dirname, '../../../src/cli/main.ts');
const HTTP = 29_164;
const DNS = 25_364;

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return (
          readFileSync(`/proc/${name}/stat`, 'utf8')
            .replace(/^.*\) /, '')
            .split(' ')[1] === String(pid)
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

describe('the service with DNS workers', function () {
  this.timeout(40_000);
  let directory: string;
  let upstream: ScriptedServer;
  let service: Background;
  let config: string;

  const write = (deny: string) =>
    writeFileSync(
      config,
      JSON.stringify({
        prefix: '2001:db8:64::/96',
        dns: { workers: 3, listen: [`127.0.0.1:${DNS}`], upstreams: [`127.0.0.1:${upstream.endpoint.port}`] },
        nat64: { enabled: false, deny: [deny] },
        http: { listen: `127.0.0.1:${HTTP}` },
        log: { format: 'json' },
      }),
    );
  const get = async (path: string) => (await fetch(`http://127.0.0.1:${HTTP}${path}`)).text();
  const status = async () => JSON.parse(await get('/status')) as ServiceStatus;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'gate64-workers-'));
    config = join(directory, 'gate64.yaml');
    upstream = await ScriptedServer.start();
    upstream.fallback = { answers: [rr.a('any.example', '192.0.2.7')] };
    write('203.0.113.1/32');
    service = start([process.execPath, MAIN, 'run', '-c', config]);
    await eventually('it is ready', async () => ((await status()).dns.ready ? true : undefined), 20_000).catch(
      (cause) => {
        throw new Error(service.log(), { cause });
      },
    );
  });
  afterEach(async () => {
    service.signal('SIGKILL');
    await service.ended;
    await upstream.stop();
    rmSync(directory, { recursive: true });
  });

  it('counts what was sent, reloads under load, and drains although all are told to end', async () => {
    const load = new Load(DNS, 30, (i) => `n${i % 300}.example`);
    for (const deny of ['198.51.100.1/32', '192.0.2.9/32']) {
      const { at } = (await status()).config.lastReload;
      write(deny);
      service.signal('SIGHUP');
      const { lastReload } = await eventually('it has reloaded', async () => {
        const { config } = await status();
        return config.lastReload.at === at ? undefined : config;
      });
      expect(lastReload.successful).to.equal(true);
    }
    const first = await load.end();
    expect(first.unanswered).to.deep.equal([]);
    expect(first.sent, 'nobody asked twice').to.equal(first.asked);
    await eventually('the metrics have it all', async () =>
      metricSum(await get('/metrics'), 'gate64_dns_requests_total') >= first.sent ? true : undefined,
    );
    expect(metricSum(await get('/metrics'), 'gate64_dns_requests_total')).to.equal(first.sent);
    expect((await status()).dns.workers).to.deep.equal({ running: 3, wanted: 3 });

    const workers = childrenOf(service.pid);
    expect(workers).to.have.length(3);
    const drained = new Load(DNS, 30, (i) => `n${i % 300}.example`);
    // As a terminal or a service manager does.
    for (const pid of [...workers, service.pid]) process.kill(pid, 'SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 4000));
    const last = await drained.end();
    expect(last.unanswered).to.deep.equal([]);
    expect(last.sent, 'nobody asked twice').to.equal(last.asked);
    await service.ended;
    expect(service.exitCode()).to.equal(0);
    expect(workers.filter(isAlive)).to.deep.equal([]);
  });

  it('leaves none behind when it is killed', async () => {
    const workers = childrenOf(service.pid);
    expect(workers).to.have.length(3);
    service.signal('SIGKILL');
    await eventually('they have ended', () => (workers.some(isAlive) ? undefined : true), 3000);
  });
});
