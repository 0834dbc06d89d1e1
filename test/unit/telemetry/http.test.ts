// SPDX-License-Identifier: Apache-2.0
// The HTTP endpoints over a real socket, and the client of /status.

import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { expect } from 'chai';
import { fetchReadiness, fetchStatus } from '../../../src/cli/status-client.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { MAX_CONNECTIONS } from '../../../src/telemetry/http-connections.ts';
import { HttpEndpoint } from '../../../src/telemetry/http.ts';
import { Metrics } from '../../../src/telemetry/metrics.ts';
import type { ServiceStatus } from '../../../src/telemetry/status.ts';
import { eventually } from '../../helpers/processes.ts';

const READY: ServiceStatus = {
  version: '1.2.3',
  pid: 1,
  startedAt: '2026-01-02T03:04:05.000Z',
  draining: false,
  config: { file: null, lastReload: { at: '2026-01-02T03:04:05.000Z', successful: true } },
  dns: { enabled: true, ready: true, reasons: [], listen: [], upstreams: [] },
  nat64: { enabled: true, ready: true, reasons: [], egress: 'direct', uplink: null, attach: 'tcx', adopted: false },
};

describe('http', () => {
  let endpoint: HttpEndpoint;
  let status: ServiceStatus;
  const metrics = new Metrics();

  before(async () => {
    endpoint = await HttpEndpoint.start({ listen: { host: '127.0.0.1', port: 0 }, metrics, status: () => status });
  });
  beforeEach(() => {
    status = READY;
  });
  after(() => endpoint.close());

  const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${endpoint.port}${path}`, init);

  it('/healthz answers as long as the event loop turns, whatever the halves do', async () => {
    status = { ...READY, draining: true, dns: { ...READY.dns, ready: false } };
    const response = await get('/healthz');
    expect([response.status, await response.text()]).to.deep.equal([200, 'ok\n']);
  });

  const cases: [string, Partial<ServiceStatus>, number, string][] = [
    ['both halves ready', {}, 200, 'dns: ready\nnat64: ready\n'],
    [
      'a half that is off',
      { dns: { ...READY.dns, enabled: false, ready: false } },
      200,
      'dns: disabled\nnat64: ready\n',
    ],
    [
      'a half that is not ready, with its reasons',
      { nat64: { ...READY.nat64, ready: false, reasons: ['eth0 is down', 'no pool'] } },
      503,
      'dns: ready\nnat64: not ready: eth0 is down; no pool\n',
    ],
    ['a half that starts', { dns: { ...READY.dns, ready: false } }, 503, 'dns: not ready: starting\nnat64: ready\n'],
    ['draining', { draining: true }, 503, 'draining\ndns: ready\nnat64: ready\n'],
  ];
  for (const [title, changes, code, text] of cases) {
    it(`/readyz: ${title}`, async () => {
      status = { ...READY, ...changes };
      const response = await get('/readyz');
      expect([response.status, await response.text()]).to.deep.equal([code, text]);
    });
  }

  it('/metrics has the type that Prometheus wants', async () => {
    const response = await get('/metrics?name=x');
    expect(response.status).to.equal(200);
    expect(response.headers.get('content-type')).to.match(/^text\/plain; version=0\.0\.4/);
    expect(await response.text()).to.match(/^process_resident_memory_bytes \d/m);
  });

  it('what the page gives is sent with its headers; it is asked for no path that is known', async () => {
    const asked: string[] = [];
    await using other = await HttpEndpoint.start({
      listen: { host: '127.0.0.1', port: 0 },
      metrics,
      status: () => READY,
      page: (path, host) => {
        asked.push(`${path} ${host ?? ''}`);
        return path === '/'
          ? { code: 200, type: 'text/html', headers: { 'referrer-policy': 'no-referrer' }, body: 'x' }
          : undefined;
      },
    });
    const at = `127.0.0.1:${other.port}`;
    const codes: number[] = [];
    for (const path of ['/healthz', '/status', '/nothing']) codes.push((await fetch(`http://${at}${path}`)).status);
    const response = await fetch(`http://${at}/?x`);
    expect([...codes, response.status, await response.text()]).to.deep.equal([200, 200, 404, 200, 'x\n']);
    expect(response.headers.get('referrer-policy')).to.equal('no-referrer');
    expect(response.headers.get('cache-control')).to.equal('no-store');
    expect(asked).to.deep.equal([`/nothing ${at}`, `/ ${at}`]);
  });

  it('/status is read back by the command line', async () => {
    const read = await fetchStatus({ family: 4, host: '127.0.0.1', port: endpoint.port });
    expect(read).to.deep.equal(READY);
  });

  it('a listener on every address is asked at the loopback', async () => {
    expect((await fetchStatus({ family: 4, host: '0.0.0.0', port: endpoint.port }))?.pid).to.equal(1);
  });

  it('nobody there is undefined, somebody else is an error', async () => {
    const other = await HttpEndpoint.start({
      listen: { host: '127.0.0.1', port: 0 },
      metrics,
      status: () => {
        throw new Error('broken');
      },
    });
    const at = { family: 4, host: '127.0.0.1', port: other.port } as const;
    const error = await fetchStatus(at).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).to.be.instanceOf(Gate64Error).and.include({ code: 'G64_SERVICE_DOWN' });
    await other.close();
    expect(await fetchStatus(at)).to.equal(undefined);
  });

  it('/readyz is read back by the command line: ready, not ready, nobody, somebody else', async () => {
    const at = { family: 4, host: '127.0.0.1', port: endpoint.port } as const;
    expect(await fetchReadiness(at)).to.deep.equal({ ready: true, says: ['dns: ready', 'nat64: ready'] });
    status = { ...READY, draining: true };
    expect(await fetchReadiness(at)).to.deep.equal({ ready: false, says: ['draining', 'dns: ready', 'nat64: ready'] });
    const other = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const elsewhere = { ...at, port: (other.address() as AddressInfo).port };
    const error = await fetchReadiness(elsewhere).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(Gate64Error).and.include({ code: 'G64_SERVICE_DOWN' });
    other.closeAllConnections();
    other.close();
    await once(other, 'close');
    expect(await fetchReadiness(elsewhere)).to.equal(undefined);
  });

  it('HEAD has headers alone', async () => {
    const response = await get('/healthz', { method: 'HEAD' });
    expect(response.status).to.equal(200);
    expect(response.headers.get('content-length')).to.equal('3');
    expect(await response.text()).to.equal('');
  });

  it('other methods are refused', async () => {
    const response = await get('/metrics', { method: 'POST', body: 'x' });
    expect(response.status).to.equal(405);
    expect(response.headers.get('allow')).to.equal('GET, HEAD');
  });

  for (const path of ['/', '/metric', '/metrics/', '/%2e%2e/etc/passwd']) {
    it(`${path} is not found`, async () => expect((await get(path)).status).to.equal(404));
  }

  it('a port that is taken is named, with what to do', async () => {
    const error = await HttpEndpoint.start({
      listen: { host: '127.0.0.1', port: endpoint.port },
      metrics,
      status: () => status,
    }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).to.be.instanceOf(Gate64Error);
    expect(error).to.include({
      code: 'G64_LISTEN',
      message: `http.listen 127.0.0.1:${endpoint.port} cannot be opened: the address is in use`,
    });
  });

  it('holds a bounded number of connections, and answers whoever asks while others keep theirs', async () => {
    const idle: Socket[] = [];
    let closed = 0;
    try {
      for (let i = 0; i < 2 * MAX_CONNECTIONS; i++) {
        const socket = connect(endpoint.port, '127.0.0.1');
        socket.on('error', () => undefined).on('close', () => closed++);
        idle.push(socket.resume());
        await once(socket, 'connect');
      }
      expect((await get('/healthz')).status).to.equal(200);
      // fetch() may keep some of its own.
      expect(idle.length - closed).to.be.within(1, MAX_CONNECTIONS);
      // Deadlines end those that say nothing, one that sends its headers a byte at a time as well.
      const slow = idle.findLast((socket) => !socket.destroyed);
      const drip = setInterval(() => slow?.writable === true && slow.write('G'), 200);
      await eventually('all are closed', () => (closed === idle.length ? true : undefined), 9_000);
      clearInterval(drip);
    } finally {
      for (const socket of idle) socket.destroy();
    }
  }).timeout(20_000);

  it('closing ends connections that are kept open', async () => {
    const own = await HttpEndpoint.start({ listen: { host: '::1', port: 0 }, metrics, status: () => status });
    const socketClosed = new Promise<void>((resolve, reject) => {
      const asked = request({ host: '::1', port: own.port, path: '/healthz', headers: { connection: 'keep-alive' } });
      asked.on('response', (response) => response.resume());
      asked.on('socket', (socket) => socket.on('close', () => resolve()));
      asked.on('response', (response) => response.on('end', () => void own.close()));
      asked.on('error', reject);
      asked.end();
    });
    await socketClosed;
  });
});
