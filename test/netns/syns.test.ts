// SPDX-License-Identifier: Apache-2.0
// TCP connections from outside that nobody asked for, to a pool address of its own (RFC 6146 §3.5.2.2, RFC 5382 REQ-4):
// refused after six seconds, unless the pod opens the same connection; a flood of them leaves others alone.

import { join } from 'node:path';
import { expect } from 'chai';
import { eventually, type Background } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { SERVER4 } from '../helpers/topology.ts';

const POOL = '192.0.2.10';
const HOLD_MS = 6000;
/** Where the pod's binding comes from, where it leads first, and from where somebody calls back. */
const [SOURCE, ECHO, CALLER] = [45_001, 7031, 46_001];

const ECHO_SERVER = `require('net').createServer((s) => { s.on('error', () => {}); s.pipe(s); }).listen(${ECHO}, '${SERVER4}');
console.log('listening');`;
/** Says "connected", then what it is told, or the error's code; each with milliseconds since it began. */
const client = (host: string, port: number, localPort: number) => `const began = performance.now();
const say = (text) => console.log(text, Math.round(performance.now() - began));
const s = require('net').connect({ port: ${port}, host: '${host}', localPort: ${localPort} }, () => {
  say('connected');
  s.write('hello from ${localPort}');
});
s.on('data', (data) => say(String(data)));
s.on('error', (error) => say(error.code));
process.on('SIGUSR2', () => s.write('still here'));
setInterval(() => {}, 1000);`;

interface Session {
  readonly pool: { readonly port: number };
  readonly source: { readonly port: number };
  readonly destination: { readonly port: number };
  readonly state: string;
}

describe('TCP connections that nobody asked for', function () {
  this.timeout(60_000);
  let scene: Scene;
  let port = 0;

  const start = (namespace: 'pod' | 'server', host: string, to: number, from: number): Background =>
    scene.topology.start(namespace, [process.execPath, '-e', client(host, to, from)]);
  const says = (who: Background, text: string, timeoutMs = 10_000) =>
    eventually(
      text,
      () => {
        const found = new RegExp(`${text} (\\d+)`).exec(who.log());
        return found === null ? undefined : Number(found[1]);
      },
      timeoutMs,
    );
  const unreachables = async () =>
    Number((await scene.topology.sh('server', 'nstat -az IcmpInDestUnreachs')).trim().split(/\s+/).at(-2));
  const sessions = () => scene.gate64.json<Session[]>('sessions', '--proto', 'tcp');

  before(async () => {
    scene = await Scene.create({
      egress: 'direct',
      config: { nat64: { pool: [{ addresses: POOL, ports: '1024-65535' }] } },
    });
    const echo = scene.topology.start('server', [process.execPath, '-e', ECHO_SERVER]);
    await eventually('the server listens', () => (echo.log().includes('listening') ? true : undefined));
    await says(start('pod', `64:ff9b::${SERVER4}`, ECHO, SOURCE), 'connected');
    port = (await sessions()).find(({ source }) => source.port === SOURCE)?.pool.port ?? 0;
    expect(port).to.be.greaterThan(0);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  it('N6146-4-e: T5382-4-a: T5382-4-c: N6146-3.5.2.2-04: N6146-3.5.2.2-10: refused after six seconds and not before', async () => {
    const before = await unreachables();
    const after = await says(start('server', POOL, port, CALLER), 'ECONNREFUSED');
    expect(after).to.be.within(HOLD_MS, HOLD_MS + 900);
    expect(await unreachables()).to.equal(before + 1);
  });

  it('N6146-3.5.2.2-03: to a port that no pod has the same', async () => {
    const after = await says(start('server', POOL, port === 60_000 ? 60_001 : 60_000, CALLER + 1), 'ECONNREFUSED');
    expect(after).to.be.within(HOLD_MS, HOLD_MS + 900);
  });

  it('T5382-4-b: where the pod opens the same connection in time it comes about, and nobody is refused', async () => {
    const before = await unreachables();
    const caller = start('server', POOL, port, CALLER + 2);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    expect(caller.log()).to.equal('');
    const pod = start('pod', `64:ff9b::${SERVER4}`, CALLER + 2, SOURCE);
    await says(pod, 'connected');
    await says(pod, `hello from ${CALLER + 2}`);
    await says(caller, `hello from ${SOURCE}`);
    await new Promise((resolve) => setTimeout(resolve, HOLD_MS));
    expect(await unreachables()).to.equal(before);
    pod.signal('SIGUSR2');
    await says(caller, 'still here');
    const mine = (await sessions()).find(({ destination }) => destination.port === CALLER + 2);
    expect(mine?.state).to.equal('established');
  });

  it('N6146-5.3-a: twenty thousand a second from many senders leave a pod’s connections alone', async () => {
    const checksum = await scene.serve('one', 1);
    const mac = (await scene.topology.sh('router', `ip neigh show ${POOL} dev lan0`)).split(' ')[2] ?? '';
    const argv = [join(import.meta.dirname, '../helpers/syn-flood.ts'), POOL, String(port), 'lan0', mac, '10'];
    const flood = scene.topology.start('router', [process.execPath, ...argv]);
    let downloads = 0;
    while (flood.exitCode() === undefined) {
      expect(await scene.download('http://v4only.example/one', ['--max-time', '5'])).to.equal(checksum);
      downloads++;
    }
    expect(Number(flood.log()), flood.log()).to.be.greaterThan(50_000);
    expect(downloads).to.be.greaterThan(10);
    const drops = await scene.gate64.json<{ reason: string; count: number }[]>('drops');
    const counted = drops.filter(({ reason }) => reason === 'no_binding' || reason === 'tcp_external_syn');
    expect(counted.reduce((sum, { count }) => sum + count, 0)).to.be.at.least(Number(flood.log()));
  });
});
