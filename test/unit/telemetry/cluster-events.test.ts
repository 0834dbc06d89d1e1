// SPDX-License-Identifier: Apache-2.0
// Against an API server by HTTPS, with an authority of its own.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ClusterEvents } from '../../../src/telemetry/cluster-events.ts';
import { EventApi } from '../../../src/telemetry/event-api.ts';
import type { ServiceStatus } from '../../../src/telemetry/status.ts';
import { eventually } from '../../helpers/processes.ts';
import { TestLog } from '../nat64/support.ts';

interface Asked {
  readonly url: string | undefined;
  readonly token: string | undefined;
  readonly event: Readonly<Record<string, unknown>>;
}

const POD = { POD_NAME: 'gate64-x7k2p', POD_NAMESPACE: 'gate64-system', POD_UID: 'u-1', NODE_NAME: 'node-1' };

describe('events of Kubernetes', () => {
  let folder: string;
  let server: Server;
  let asked: Asked[];
  let answer: number;
  let log: TestLog;
  let events: ClusterEvents | undefined;
  let ready: boolean;
  let refused: { at: string; error: string } | undefined;
  let exhausted: number;
  let environment: Record<string, string>;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'gate64-events-'));
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    for (const name of ['ca', 'other']) {
      openssl('req', '-x509', ...key, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.crt`);
    }
    const issued = [
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-addext',
      'subjectAltName=IP:127.0.0.1,IP:::1,DNS:kubernetes.default.svc',
    ];
    openssl('req', '-x509', ...key, ...issued, '-subj', '/CN=api', '-keyout', 'api.key', '-out', 'api.crt');
    writeFileSync(join(folder, 'token'), 'secret\n');
    writeFileSync(join(folder, 'namespace'), 'gate64-system');
  });
  after(() => rmSync(folder, { recursive: true }));

  beforeEach(async () => {
    [asked, answer, log, ready, refused, exhausted] = [[], 201, new TestLog(), true, undefined, 0];
    const tls = { key: readFileSync(join(folder, 'api.key')), cert: readFileSync(join(folder, 'api.crt')) };
    server = createServer(tls, (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const event = JSON.parse(Buffer.concat(chunks).toString()) as Asked['event'];
        asked.push({ url: `${request.method} ${request.url}`, token: request.headers.authorization, event });
        response.writeHead(answer).end('{}');
      });
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port), ...POD };
  });
  afterEach(async () => {
    events?.stop();
    await new Promise((resolve) => server.close(resolve));
  });

  const status = () =>
    ({
      draining: false,
      config: { file: null, lastReload: { at: '', successful: refused === undefined, ...refused } },
      dns: { enabled: false, ready: false, reasons: [] },
      nat64: { enabled: true, ready, reasons: ready ? [] : ['the pool has no address'] },
    }) as unknown as ServiceStatus;
  const start = (restMs = 60_000, isWanted = true) => {
    const api = new EventApi(environment, folder);
    const times = { lookMs: 5, patienceMs: 20, restMs };
    events = new ClusterEvents({ api, log, isWanted: () => isWanted, status, exhausted: () => exhausted, ...times });
  };
  const reasons = () => asked.map(({ event }) => event['reason']);
  const count = (wanted: number) =>
    eventually('events come', () => Promise.resolve(asked.length >= wanted ? true : undefined));
  const pause = () => new Promise((resolve) => setTimeout(resolve, 150));

  it('not ready and ready again are said, about the pod and its node, with the token', async () => {
    start();
    await pause();
    expect(asked, 'all is well').to.deep.equal([]);
    ready = false;
    await count(1);
    ready = true;
    await count(2);
    const [first] = asked;
    expect(first?.url).to.equal('POST /apis/events.k8s.io/v1/namespaces/gate64-system/events');
    expect(first?.token).to.equal('Bearer secret');
    const { metadata, eventTime, ...event } = first?.event ?? {};
    expect(metadata).to.have.property('namespace', 'gate64-system');
    expect(eventTime).to.match(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}Z$/);
    expect(event).to.deep.equal({
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      reportingController: 'gate64',
      reportingInstance: 'gate64-x7k2p',
      reason: 'NotReady',
      type: 'Warning',
      action: 'Waiting',
      note: 'dns: disabled\nnat64: not ready: the pool has no address',
      regarding: { apiVersion: 'v1', kind: 'Pod', namespace: 'gate64-system', name: 'gate64-x7k2p', uid: 'u-1' },
      related: { apiVersion: 'v1', kind: 'Node', name: 'node-1' },
    });
    expect(reasons()).to.deep.equal(['NotReady', 'Ready']);
  });

  it('a refused configuration and an exhausted pool are said once, and again when it happens again', async () => {
    start(300);
    refused = { at: '1', error: `gate64.yaml:3:5: ${'ü'.repeat(2000)}` };
    exhausted = 7;
    await count(2);
    await pause();
    await pause();
    await pause();
    expect(reasons()).to.have.members(['ConfigurationRefused', 'PoolExhausted']);
    const note = String(asked.find(({ event }) => event['reason'] === 'ConfigurationRefused')?.event['note']);
    expect(note).to.include('gate64.yaml:3:5');
    expect(Buffer.byteLength(note)).to.be.at.most(1024);
    refused = { at: '2', error: 'again' };
    await count(3);
    expect(reasons()[2]).to.equal('ConfigurationRefused');
  });

  it('of one reason at most one comes in a minute', async () => {
    start();
    exhausted = 1;
    await count(1);
    for (exhausted = 2; exhausted < 10; exhausted++) await new Promise((resolve) => setTimeout(resolve, 10));
    await pause();
    expect(reasons()).to.deep.equal(['PoolExhausted']);
  });

  it('what the API refuses is said once, and no more', async () => {
    answer = 403;
    start();
    exhausted = 1;
    await eventually('it is said', () => Promise.resolve(log.lines[0]));
    await pause();
    expect(log.lines.map(({ level }) => level)).to.deep.equal(['warn']);
    expect(String(log.lines[0]?.fields['err'])).to.include('403');
    expect(asked).to.have.length(1);
  });

  it('an API server at an IPv6 address is believed by its certificate, as in a cluster with IPv6 alone', async () => {
    const six = createServer(
      { key: readFileSync(join(folder, 'api.key')), cert: readFileSync(join(folder, 'api.crt')) },
      (request, response) => {
        request.resume().on('end', () => response.writeHead(201).end('{}'));
        asked.push({ url: request.url ?? '', token: request.headers.authorization, event: {} });
      },
    );
    await new Promise<void>((resolve) => void six.listen(0, '::1', resolve));
    const { port } = six.address() as AddressInfo;
    const api = new EventApi({ KUBERNETES_SERVICE_HOST: '::1', KUBERNETES_SERVICE_PORT: String(port), ...POD }, folder);
    await api.post({ reason: 'NotReady', type: 'Warning', action: 'Starting', note: 'x' });
    await new Promise((resolve) => six.close(resolve));
    expect(asked).to.have.length(1);
  });

  it('an API server of another authority gets neither token nor event', async () => {
    writeFileSync(join(folder, 'kept.crt'), readFileSync(join(folder, 'ca.crt')));
    writeFileSync(join(folder, 'ca.crt'), readFileSync(join(folder, 'other.crt')));
    try {
      start();
      exhausted = 1;
      await eventually('it is said', () => Promise.resolve(log.lines[0]));
      expect(asked).to.deep.equal([]);
    } finally {
      writeFileSync(join(folder, 'ca.crt'), readFileSync(join(folder, 'kept.crt')));
    }
  });

  it('is silent without a token, outside Kubernetes, and where it is switched off', async () => {
    exhausted = 0;
    delete environment['KUBERNETES_SERVICE_HOST'];
    start();
    exhausted = 1;
    await pause();
    events?.stop();
    start(60_000, false);
    exhausted = 2;
    await pause();
    expect([asked, log.lines]).to.deep.equal([[], []]);
  });
});
