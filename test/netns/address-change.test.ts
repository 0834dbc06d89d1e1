// SPDX-License-Identifier: Apache-2.0
// The uplink gets another address while pods are busy (DHCP, a dial-up anew), egress direct: the old one may be somebody
// else's at once, so nothing is sent from it, nobody is answered for it, and flows go on by the new one.

import { expect } from 'chai';
import { eventually, type Background } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { NODE4, ROUTER4 } from '../helpers/topology.ts';

const NEW = '192.0.2.33';
const LITERAL = 'http://[64:ff9b::c633:640a]/one';
/** One socket that asks the echo server ten times a second, and says what came back. */
const BEAT = `
  const socket = require('node:dgram').createSocket('udp6');
  let n = 0;
  socket.on('message', (data) => console.log('back ' + data)).on('error', () => undefined);
  socket.bind(0, () => setInterval(() => socket.send(String(n++), 7007, '64:ff9b::c633:640a', () => undefined), 100));
`;

interface SessionJson {
  state: string;
  source: { address: string; port: number };
  pool: { address: string; port: number };
}

describe('the uplink gets another address under busy pods, egress direct', function () {
  this.timeout(60_000);
  let scene: Scene;
  let beat: Background;
  let one: string;

  before(async () => {
    scene = await Scene.create({ egress: 'direct' });
    one = await scene.serve('one', 1);
    await scene.serve('long', 192);
    beat = scene.topology.start('pod', [process.execPath, '-e', BEAT]);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  const sessions = (protocol: string) => scene.gate64.json<SessionJson[]>('sessions', '--proto', protocol);
  const node = (script: string) => scene.topology.sh('node', script);
  const beats = () => beat.log().split('back').length - 1;
  /** Addresses that the busy socket, which stays the same, is seen by. */
  const addressesOfBeat = async () => (await sessions('udp')).map(({ pool }) => pool.address);

  it('flows go on by the new address within seconds; what cannot ends', async () => {
    await eventually('the socket is answered', () => (beats() > 3 ? true : undefined));
    expect(new Set(await addressesOfBeat())).to.deep.equal(new Set([NODE4]));
    const download = scene.download('http://v4only.example/long', ['--limit-rate', '1M', '--max-time', '12']);
    download.catch(() => undefined);
    await eventually('the transfer is under way', async () =>
      (await sessions('tcp')).some(({ state }) => state === 'established') ? true : undefined,
    );
    await node(
      `ip addr del ${NODE4}/24 dev up0; ip addr add ${NEW}/24 dev up0; ip -4 route replace default via ${ROUTER4}`,
    );
    await scene.topology.sh('router', `ip addr add ${NODE4}/24 dev lan0`);
    const before = beats();
    await eventually('the socket is answered again', () => (beats() > before + 5 ? true : undefined), 10_000);
    await eventually(
      'nothing is left of the old address',
      async () => {
        const all = [...(await sessions('udp')), ...(await sessions('tcp'))];
        return all.some(({ pool }) => pool.address === NODE4) ? undefined : true;
      },
      5000,
    );
    expect(new Set(await addressesOfBeat())).to.deep.equal(new Set([NEW]));
    expect(await scene.download(LITERAL, ['--connect-timeout', '2'])).to.equal(one);
    const said = scene.gate64.process?.log() ?? '';
    expect(said).to.match(/the node has lost an address of the pool; its sessions end/);
  });

  it('the old address is nobody’s here: no route, no answer for it, node and pods reach who has it', async () => {
    // Its blocks rest still.
    expect(await node('ip -4 route show dev gate64')).to.equal('');
    expect(await node('ip neighbour show proxy')).not.to.include(NODE4);
    await node(`ping -4 -c 1 -W 3 ${NODE4}`);
    await scene.topology.run('pod', ['ping', '-6', '-c', '1', '-W', '3', '64:ff9b::c000:201']);
  });

  it('a restart changes nothing of that', async () => {
    scene.gate64.process?.signal('SIGKILL');
    await scene.gate64.process?.ended;
    await scene.gate64.start();
    expect(await node('ip -4 route show dev gate64')).to.equal('');
    const before = beats();
    await eventually('the socket is answered', () => (beats() > before + 3 ? true : undefined), 5000);
    await node(`ping -4 -c 1 -W 3 ${NODE4}`);
  });
});
