// SPDX-License-Identifier: Apache-2.0
// Names are answered while somebody holds as many HTTP connections as go, or does not read the log.

import { spawn, type ChildProcess } from 'node:child_process';
import { expect } from 'chai';
import { Gate64, GATE64, gate64Config } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { startDnsServer } from '../helpers/server-parts.ts';
import { Topology } from '../helpers/topology.ts';

const CONNECTIONS = 4500;
/** Holds connections that say nothing, and makes new ones for those that are ended. */
const HOLDER = `
  const { connect } = require('node:net');
  let opened = 0;
  const open = () => {
    const socket = connect(9164, '127.0.0.1');
    socket.on('connect', () => { if (++opened === ${CONNECTIONS}) console.log('all were open'); });
    socket.on('error', () => undefined).on('close', () => setTimeout(open, 1000)).resume();
  };
  for (let i = 0; i < ${CONNECTIONS}; i++) open();
`;

describe('starved of descriptors and of a log reader', function () {
  this.timeout(60_000);
  let topology: Topology;
  let gate64: Gate64;
  let service: ChildProcess | undefined;
  let asked = 0;

  before(async () => {
    topology = await Topology.create();
    await startDnsServer(topology);
    gate64 = new Gate64(topology, {
      ...gate64Config('masquerade', { nat64: { enabled: false } }),
      log: { level: 'debug' },
    });
    // Nobody reads its stderr.
    const run = ['prlimit', '--nofile=1024:1024', '--', GATE64, 'run', '-c', gate64.configFile];
    const [command = '', ...args] = topology.enter('node', run);
    service = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    await eventually('it is ready', async () => ((await gate64.http('/readyz')).code === 0 ? true : undefined), 20_000);
  });
  after(async () => {
    service?.kill('SIGKILL');
    await (topology as Topology | undefined)?.dispose();
  });

  /** Names that no cache has, each answered within a second. */
  const ask = async () => {
    for (let i = 0; i < 20; i++) {
      const name = `n${asked++}.example`;
      const answer = await topology.sh('node', `dig +tries=1 +time=1 -p 5364 @127.0.0.1 ${name} AAAA`);
      expect(answer, name).to.include('status: NXDOMAIN');
    }
  };

  it(`${CONNECTIONS} HTTP connections that say nothing keep no name from being answered, nor /healthz`, async () => {
    const holder = topology.start('node', [process.execPath, '-e', HOLDER]);
    await eventually('connections are open', () => (holder.log().includes('all were open') ? true : undefined), 30_000);
    await ask();
    expect((await gate64.http('/healthz')).code).to.equal(0);
    await holder.stop();
  });

  it('a log that nobody reads keeps nothing from its turn', async () => {
    // Each reload that is refused writes a line or more; the pipe holds some hundred.
    gate64.write(`nonsense-${'x'.repeat(2000)}: 1\n`);
    const { pid } = service as ChildProcess;
    for (let i = 0; i < 1000; i++) {
      process.kill(pid as number, 'SIGHUP');
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await ask();
    for (const path of ['/healthz', '/readyz']) expect((await gate64.http(path)).code, path).to.equal(0);
    let log = '';
    service?.stderr?.setEncoding('utf8').on('data', (text: string) => (log += text));
    await eventually('what was lost is said', () =>
      /"lines":\d+[^\n]*log lines were lost/.test(log) ? true : undefined,
    );
    for (const line of log.trimEnd().split('\n')) JSON.parse(line);
    service?.kill('SIGTERM');
    service?.kill('SIGTERM');
    await eventually('the last line', () => (log.includes('gate64 has ended') ? true : undefined));
  });
});
