// SPDX-License-Identifier: Apache-2.0
// nat64.allowNodeAddresses: a VIP of the node, named, is reached by pods, what stands behind it by a hostPort too; nothing
// else of the node is.

import { expect } from 'chai';
import { gate64Config } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { NODE4, SERVER4, Topology } from '../helpers/topology.ts';

const VIP = '192.0.2.30';
const BROADCAST = '192.0.2.255';
const PORT = 7012;
/** Says what it heard, and where it was sent from. */
const ECHO = `
  const { createServer } = require('node:net');
  createServer((socket) => socket.end('from ' + socket.remoteAddress)).listen(${PORT}, '0.0.0.0', () => console.log('listening'));
  const udp = require('node:dgram').createSocket('udp4');
  udp.on('message', (data) => console.log('heard ' + data));
  udp.bind(${PORT});
`;

describe("the node's own addresses that are allowed", function () {
  this.timeout(60_000);
  let scene: Scene;
  let heard: () => string;

  before(async () => {
    const topology = await Topology.create();
    await topology.sh('node', `ip -4 addr add ${VIP}/24 dev up0`);
    scene = await Scene.create({
      egress: 'masquerade',
      config: { nat64: { allowNodeAddresses: [`${VIP}/32`, BROADCAST] } },
      topology,
    });
    const echo = topology.start('node', [process.execPath, '-e', ECHO]);
    heard = () => echo.log();
    await eventually('the node listens', () => (heard().includes('listening') ? true : undefined));
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  const ask = (v4: string, port = PORT) =>
    scene.topology
      .run('pod', ['socat', '-T3', '-u', `TCP6:[64:ff9b::${v4}]:${port},connect-timeout=2`, 'STDOUT'], {
        accept: 'any',
      })
      .then(({ stdout }) => stdout);

  it('are reached', async () => {
    expect(await ask(VIP)).to.match(/^from 192\.0\.0\./);
  });

  it('and no other of the node, nor its broadcast address', async () => {
    expect(await ask(NODE4)).to.equal('');
    await scene.topology.sh('pod', `echo -n broadcast | socat -u - 'UDP6-SENDTO:[64:ff9b::${BROADCAST}]:${PORT}'`);
    await scene.topology.sh('pod', `echo -n unicast | socat -u - 'UDP6-SENDTO:[64:ff9b::${VIP}]:${PORT}'`);
    await eventually('the node heard the pod', () => (heard().includes('unicast') ? true : undefined));
    expect(heard()).not.to.include('broadcast');
  });

  it('with what is behind a hostPort of theirs, elsewhere or on the node', async () => {
    await scene.topology.sh(
      'node',
      `nft 'add table ip hostport; add chain ip hostport pre { type nat hook prerouting priority dstnat; };
        add rule ip hostport pre ip daddr ${VIP} tcp dport 8080 dnat to ${SERVER4}:80;
        add rule ip hostport pre ip daddr ${VIP} tcp dport 8081 dnat to ${NODE4}:${PORT}'`,
    );
    const page = await scene.topology.sh(
      'pod',
      `curl -sS -o /dev/null -w '%{http_code}' 'http://[64:ff9b::${VIP}]:8080/one'`,
    );
    expect(page).to.equal('200');
    expect(await ask(VIP, 8081)).to.match(/^from /);
  });

  it('a reload that takes them back closes them', async () => {
    scene.gate64.write(gate64Config('masquerade'));
    scene.gate64.process?.signal('SIGHUP');
    await eventually('it is reloaded', () =>
      scene.gate64.process?.log().includes('configuration reloaded') === true ? true : undefined,
    );
    expect(await ask(VIP)).to.equal('');
  });
});
