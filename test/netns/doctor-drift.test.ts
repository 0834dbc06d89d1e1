// SPDX-License-Identifier: Apache-2.0
// gate64 doctor on a node that was ready and has lost something while no service runs to put it back: what is missing is
// named, and gone once the advice was followed to the letter.

import { expect } from 'chai';
import { Gate64, gate64Config, type Egress } from '../helpers/gate64.ts';
import { startDnsServer } from '../helpers/server-parts.ts';
import { Topology } from '../helpers/topology.ts';

interface DoctorJson {
  readonly ran: readonly { readonly name: string; readonly exit: number | null }[];
  readonly findings: readonly { readonly name: string; readonly command: string | null; readonly remedy: string }[];
}

/** What is done to the node, and the findings that name it. */
type Breakage = readonly [what: string, name: string, script: string];

const BREAKAGES: Readonly<Record<Egress, readonly Breakage[]>> = {
  masquerade: [
    ['a route that is missing', 'route-missing', 'ip -6 route del 64:ff9b::/96 dev gate64'],
    ['IPv6 forwarding that is off', 'forwarding-off', 'sysctl -qw net.ipv6.conf.all.forwarding=0'],
    ['IPv4 forwarding that is off', 'forwarding-off', 'sysctl -qw net.ipv4.ip_forward=0'],
    ['a strict rp_filter', 'reverse-path-strict', 'sysctl -qw net.ipv4.conf.gate64.rp_filter=1'],
    ['a small MTU of the device', 'device-mtu-small', 'ip link set dev gate64 mtu 1400'],
    ['nft flush ruleset', 'masquerade-missing', 'nft flush ruleset'],
    ['maps of another version', 'old-layout', 'cd /sys/fs/bpf/gate64 && mv maps-* maps-1'],
    ['a deleted device', 'device-missing', 'ip link del gate64'],
  ],
  direct: [
    ['a pool address that nobody answers for', 'proxy-missing', 'ip neigh del proxy 192.0.2.64 dev up0'],
    ['a strict rp_filter', 'reverse-path-strict', 'sysctl -qw net.ipv4.conf.gate64.rp_filter=1'],
  ],
};

for (const egress of ['masquerade', 'direct'] as const) {
  describe(`gate64 doctor after a change, egress ${egress}`, function () {
    this.timeout(60_000);
    let topology: Topology;
    let gate64: Gate64;
    const end = async () => {
      gate64.process?.signal('SIGKILL');
      await gate64.process?.ended;
    };
    const findings = async () => (await gate64.json<DoctorJson>('doctor', '-c', gate64.configFile)).findings;
    const names = async () => (await findings()).map(({ name }) => name);

    before(async () => {
      topology = await Topology.create();
      await startDnsServer(topology);
      const nat64 = egress === 'direct' ? { pool: [{ addresses: '192.0.2.64/32' }] } : {};
      gate64 = new Gate64(topology, gate64Config(egress, { nat64 }));
      await gate64.start();
      await end();
    });
    after(async () => {
      await gate64.cli(['uninstall', '-c', gate64.configFile], { accept: 'any' });
      await (topology as Topology | undefined)?.dispose();
    });

    it('finds nothing on a node that is as gate64 left it', async () => {
      expect(await findings()).to.deep.equal([]);
    });

    it('--fix mends what is safe, and says what it ran', async () => {
      await topology.sh('node', 'ip link set dev gate64 mtu 1400 && sysctl -qw net.ipv4.conf.gate64.rp_filter=1');
      const { findings: left, ran } = await gate64.json<DoctorJson>('doctor', '--fix', '-c', gate64.configFile);
      expect(left).to.deep.equal([]);
      expect(ran.map(({ name, exit }) => `${name} ${exit}`)).to.have.members([
        'device-mtu-small 0',
        'reverse-path-strict 0',
      ]);
      expect(await names()).to.deep.equal([]);
    });

    for (const [what, name, script] of BREAKAGES[egress]) {
      it(`${name}: ${what} is named, and the advice mends it`, async () => {
        await topology.sh('node', script);
        const [found, ...others] = await findings();
        expect([found?.name, ...others.map((other) => other.name)]).to.deep.equal([name]);
        const { command, remedy } = found as DoctorJson['findings'][number];
        if (command === null) {
          expect(remedy).to.match(/^Start gate64/);
          await gate64.start();
          await end();
        } else await topology.run('node', ['sh', '-c', command]);
        expect(await names()).to.deep.equal([]);
      });
    }
  });
}
