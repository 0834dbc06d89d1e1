// SPDX-License-Identifier: Apache-2.0
// Egress masquerade: what the node's connection tracking keeps of pods' flows, and for how long. By itself it forgets UDP
// that nobody has answered after 30 s, and remembers closed TCP connections for two minutes.

import { expect } from 'chai';
import { eventually, type Background } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';

const LATE_SECONDS = 34;
const CONNECTIONS = 300;
const SERVER6 = '64:ff9b::c633:640a';
/** Answers each datagram once, late. */
const LATE_SERVER = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (data, peer) => setTimeout(() => socket.send(data, peer.port, peer.address), ${LATE_SECONDS * 1000}));
  socket.bind(7008, () => console.log('listening'));
`;
const LATE_CLIENT = `
  const socket = require('node:dgram').createSocket('udp6');
  socket.on('message', (data) => console.log('back ' + data));
  socket.send('late', 7008, '${SERVER6}');
`;
const CONNECT = `
  const { connect } = require('node:net');
  let left = ${CONNECTIONS};
  const next = () => {
    if (left-- <= 0) return;
    connect(80, '${SERVER6}', function () { this.end(); }).on('close', next).resume();
  };
  for (let i = 0; i < 10; i++) next();
`;

describe('connection tracking behind masquerade', function () {
  this.timeout(90_000);
  let scene: Scene;
  let late: Background;

  before(async () => {
    scene = await Scene.create({ egress: 'masquerade' });
    await scene.serve('one', 1);
    const server = scene.topology.start('server', [process.execPath, '-e', LATE_SERVER]);
    await eventually('the late server listens', () => (server.log().includes('listening') ? true : undefined));
    late = scene.topology.start('pod', [process.execPath, '-e', LATE_CLIENT]);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  /** State and seconds left of each TCP connection of a pod. */
  const tracked = async () => {
    const lines = (await scene.topology.sh('node', 'cat /proc/net/nf_conntrack')).split('\n');
    return lines.flatMap((line) => {
      const [, seconds, state] = /^ipv4 +2 tcp +6 (\d+) (\w+) src=192\.0\.0\./.exec(line) ?? [];
      return state === undefined ? [] : { state, seconds: Number(seconds) };
    });
  };

  it('closed TCP connections leave it soon, so that its table does not fill with them', async () => {
    await scene.topology.run('pod', [process.execPath, '-e', CONNECT]);
    const closed = (await tracked()).filter(({ state }) => state === 'TIME_WAIT');
    expect(closed.length).to.be.above(CONNECTIONS * 0.5);
    expect(Math.max(...closed.map(({ seconds }) => seconds))).to.be.at.most(10);
  });

  it('N6146-4-b: an answer by UDP passes as long as the session lives, not 30 s', async () => {
    await eventually('the late answer', () => (late.log().includes('back late') ? true : undefined), 45_000);
  });
});
