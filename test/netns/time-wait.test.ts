// SPDX-License-Identifier: Apache-2.0
// A port that a pod's next connection to the same server gets while the server still has the last one in TIME_WAIT
// (RFC 6191, RFC 7857 §2): the server takes its SYN at once, since a pod's timestamps go on from one to the next.

import { expect } from 'chai';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { SERVER4 } from '../helpers/topology.ts';

const PORT = 7041;
const PORTS = 16;
const CONNECTIONS = 40;
/** A SYN that is refused by TIME_WAIT is sent again after a second. */
const AT_ONCE_MS = 900;

/** Closes first, so that TIME_WAIT is the server's. */
const SERVER = `require('net').createServer((s) => { s.on('error', () => {}); s.end('x'); }).listen(${PORT}, '${SERVER4}');
console.log('listening');`;
/** One connection every half a second; a line each: milliseconds to its end, and what came. */
const CLIENT = `const net = require('net');
let begun = 0;
const timer = setInterval(() => {
  if (++begun > ${CONNECTIONS}) return clearInterval(timer), setTimeout(() => console.log('over'), 2000);
  const at = performance.now();
  let got = '';
  const say = (text) => console.log('took', Math.round(performance.now() - at), text);
  const s = net.connect({ port: ${PORT}, host: '64:ff9b::${SERVER4}' });
  s.on('data', (data) => (got += data));
  s.on('end', () => say(got));
  s.on('error', (error) => say(error.code));
}, 500);`;

describe('ports that the server has in TIME_WAIT', function () {
  this.timeout(60_000);
  let scene: Scene;

  before(async () => {
    const pool = [{ addresses: '192.0.2.11', ports: `2000-${2000 + PORTS - 1}` }];
    scene = await Scene.create({ egress: 'direct', config: { nat64: { pool, blockSize: PORTS } } });
    const server = scene.topology.start('server', [process.execPath, '-e', SERVER]);
    await eventually('the server listens', () => (server.log().includes('listening') ? true : undefined));
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  it('serve the same pod again, and no connection waits for it', async () => {
    const client = scene.topology.start('pod', [process.execPath, '-e', CLIENT]);
    await eventually('all have been made', () => (client.log().includes('over') ? true : undefined), 40_000);
    const took = [...client.log().matchAll(/took (\d+) (\S+)/g)].map(([, ms, text]) => ({ ms: Number(ms), text }));
    expect(took).to.have.length(CONNECTIONS);
    expect(took.filter(({ text }) => text !== 'x')).to.deep.equal([]);
    expect(Math.max(...took.map(({ ms }) => ms))).to.be.below(AT_ONCE_MS);
    const waiting = await scene.topology.sh('server', `ss -Htan state time-wait sport = :${PORT} | wc -l`);
    expect(Number(waiting), 'ports that were used again').to.be.within(1, PORTS);
  });
});
