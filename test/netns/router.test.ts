// SPDX-License-Identifier: Apache-2.0
// A node that forwarded no IPv4 before gate64: forwarding that gate64 switched on serves gate64's flows alone, and what the
// node's owner switches on is the owner's.

import { expect } from 'chai';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { NODE4, Topology } from '../helpers/topology.ts';

const INSIDE = '203.0.113.2';

for (const egress of EGRESSES) {
  describe(`a node that is no IPv4 router, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;

    before(async () => {
      const topology = await Topology.create();
      // An internal network, and a host on the uplink that knows the way there.
      await topology.sh('node', 'sysctl -qw net.ipv4.ip_forward=0; ip -4 addr add 203.0.113.1/24 dev pod0');
      await topology.sh('pod', `ip -4 addr add ${INSIDE}/24 dev eth0; ip -4 route add default via 203.0.113.1`);
      await topology.sh('router', `ip -4 route add 203.0.113.0/24 via ${NODE4}`);
      const nat64 = egress === 'direct' ? { pool: [{ addresses: '192.0.2.7' }] } : {};
      scene = await Scene.create({ egress, config: { nat64 }, topology });
      await scene.serve('one', 1);
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    /** Whether a packet gets there; an answer need not. */
    const reaches = async () => {
      const echoes = () => scene.topology.sh('pod', "awk '/^Icmp: [0-9]/ { print $10 }' /proc/net/snmp");
      const before = await echoes();
      await scene.topology.run('router', ['ping', '-n', '-c', '1', '-W', '1', INSIDE], { accept: 'any' });
      return (await echoes()) !== before;
    };
    const pod = () => scene.download('http://v4only.example/one');

    it('pods reach IPv4, and no host on the uplink the internal network', async () => {
      expect(await pod()).to.match(/^[0-9a-f]{64}$/);
      expect(await scene.topology.sh('node', 'sysctl -n net.ipv4.conf.up0.forwarding')).to.equal('1');
      expect(await reaches()).to.equal(false);
    });

    it('nor after a restart', async () => {
      scene.gate64.process?.signal('SIGKILL');
      await scene.gate64.process?.ended;
      expect(await reaches()).to.equal(false);
      await scene.gate64.start();
      expect(await reaches()).to.equal(false);
      expect(await pod()).to.match(/^[0-9a-f]{64}$/);
    });

    it('a node that is made a router is one, soon', async () => {
      await scene.topology.sh('node', 'sysctl -qw net.ipv4.ip_forward=1');
      await eventually('the internal network is reached', async () => ((await reaches()) ? true : undefined), 10_000);
      expect(await pod()).to.match(/^[0-9a-f]{64}$/);
    });

    it('and stays one when gate64 goes', async () => {
      await scene.gate64.process?.stop();
      await scene.gate64.cli(['uninstall', '-c', scene.gate64.configFile]);
      expect(await reaches()).to.equal(true);
    });
  });
}
