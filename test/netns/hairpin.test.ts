// SPDX-License-Identifier: Apache-2.0
// Two pods meet by a pool address (RFC 6146 §3.8): one is published by a static binding, the other knows that address alone.

import { expect } from 'chai';
import { formatIp6, parseIp4 } from '../../src/addr/ip.ts';
import { embedIp4, parsePrefix64 } from '../../src/addr/rfc6052.ts';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';

const PREFIX = '2001:db8:64::/96';
const SERVER_POD = '2001:db8:1::3';
const SERVE = `require('node:http').createServer((q, r) => r.end(q.socket.remoteAddress)).listen(8080, '${SERVER_POD}')`;

for (const egress of EGRESSES) {
  const pool = egress === 'direct' ? '192.0.2.9' : '192.0.0.3';
  const address = formatIp6(embedIp4(parsePrefix64(PREFIX), parseIp4(pool)));

  describe(`hairpinning, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;

    before(async () => {
      const binding = { protocol: 'tcp', ipv6: `[${SERVER_POD}]:8080`, ipv4: `${pool}:8080` };
      const nat64 = {
        static: [binding],
        ...(egress === 'direct' ? { pool: [{ addresses: [pool], ports: '1024-65535' }] } : {}),
      };
      scene = await Scene.create({ egress, config: { prefix: PREFIX, nat64 } });
      await scene.topology.sh('pod', `ip -6 addr add ${SERVER_POD}/64 dev eth0 nodad`);
      scene.topology.start('pod', [process.execPath, '-e', SERVE]);
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    it('U4787-9-a: T5382-8-a: a pod reaches the other by the pool address, and shows its own', async () => {
      const seen = await eventually('it is answered', async () => {
        const script = `curl -sS --max-time 3 --interface 2001:db8:1::2 'http://[${address}]:8080/'`;
        const { stdout } = await scene.topology.run('pod', ['bash', '-c', script], { accept: 'any' });
        return stdout === '' ? undefined : stdout;
      });
      expect(seen).to.match(egress === 'direct' ? new RegExp(`^${address}$`) : /^2001:db8:64::c000:[0-7]$/);
      const sessions = await scene.gate64.json<{ state: string }[]>('sessions', '--proto', 'tcp');
      expect(sessions.length, 'two legs').to.be.at.least(2);
    });
  });
}
