// SPDX-License-Identifier: Apache-2.0
// What cannot work is refused at start: one clear error, exit code 1, no stack trace, nothing changed on the node.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { GATE64, gate64Config } from '../helpers/gate64.ts';
import { differences, nodeState, type NodeState } from '../helpers/node-state.ts';
import { eventually } from '../helpers/processes.ts';
import { Topology } from '../helpers/topology.ts';

const WRONG: readonly [what: string, yaml: string, expected: RegExp][] = [
  ['an unknown key', 'nat64:\n  egres: direct\n', /:2:3: .*egres.*egress/],
  ['a wrong type', 'dns:\n  enabled: maybe\n', /:2:12: .*true or false/],
  ['YAML syntax', 'nat64: { egress: direct\n', /:\d+:\d+: /],
  ['host bits in a prefix', 'prefix: 64:ff9b::1/96\n', /:1:9: .*64:ff9b::/],
  ['prefix length 72', 'prefix: 2001:db8::/72\n', /:1:9: .*72.*32.*96/],
  ['bits 64 to 71 set', 'prefix: 2001:db8:0:0:100::/96\n', /:1:9: .*64/],
  [
    'overlapping pools',
    'nat64:\n  pool:\n    - addresses: 192.0.0.0/29\n    - addresses: 192.0.0.4\n',
    /:4:\d+: .*overlap/,
  ],
  [
    'a reversed port range',
    'nat64:\n  pool:\n    - addresses: 192.0.0.0/29\n      ports: 2000-1000\n',
    /:4:14: .*2000-1000/,
  ],
  [
    'a port beyond 65535',
    'nat64:\n  pool:\n    - addresses: 192.0.0.0/29\n      ports: 1024-70000\n',
    /:4:14: .*65535/,
  ],
  ['IPv6 in the pool', 'nat64:\n  pool:\n    - addresses: 2001:db8::/64\n', /:3:18: .*IPv4/],
  ['a listen address without port', 'dns:\n  listen: ["127.0.0.1"]\n', /:2:12: .*port/],
  ['an upstream that is no address', 'dns:\n  upstreams: [resolver]\n', /:2:15: .*resolver/],
  [
    'addresses of the node with the direct way out',
    'nat64:\n  egress: direct\n  allowNodeAddresses: [192.0.2.1]\n',
    /:3:\d+: .*allowNodeAddresses.*masquerade/,
  ],
  [
    'accelerated pods without the direct way out',
    'nat64:\n  accelerate: ["lxc*"]\n',
    /:2:\d+: .*accelerate.*masquerade.*direct/,
  ],
  ['a bad CIDR', 'nat64:\n  deny: [10.0.0.0/33]\n', /:2:10: .*10\.0\.0\.0\/33/],
  [
    'a bad static binding',
    'nat64:\n  static:\n    - { protocol: tcp, ipv6: "2001:db8::5", ipv4: "192.0.2.2:80" }\n',
    /:3:\d+: .*2001:db8::5/,
  ],
];

describe('refused at start', function () {
  this.timeout(30_000);
  let topology: Topology;
  let untouched: NodeState;
  let file: string;

  before(async () => {
    topology = await Topology.create();
    untouched = await nodeState(topology);
    file = join(topology.directory, 'gate64.yaml');
  });
  after(async () => {
    await (topology as Topology | undefined)?.dispose();
  });

  async function refusal(argv: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await topology.run('node', argv, { accept: 'any', timeoutMs: 10_000 });
    expect(code, stderr).to.equal(1);
    expect(stdout + stderr, 'no stack trace').not.to.match(/^ +at /m);
    expect(differences(untouched, await nodeState(topology))).to.deep.equal([]);
    return stderr;
  }

  for (const [what, yaml, expected] of WRONG) {
    it(`configuration: ${what}`, async () => {
      writeFileSync(file, yaml);
      const { code, stderr } = await topology.run('node', [GATE64, 'run', '-c', file], { accept: 'any' });
      expect(code).to.equal(1);
      const lines = stderr.trimEnd().split('\n');
      expect(lines, stderr).to.have.length(1);
      expect(lines[0])
        .to.match(/gate64\.yaml:\d+:\d+: /)
        .and.to.match(expected);
    });
  }

  it('none of these changed the node', async () => {
    expect(differences(untouched, await nodeState(topology))).to.deep.equal([]);
  });

  it('no uplink: said so, with what to do', async () => {
    writeFileSync(file, stringify(gate64Config('masquerade', { nat64: { uplink: 'wan7' } })));
    expect(await refusal([GATE64, 'run', '-c', file]))
      .to.match(/wan7/)
      .and.to.match(/hint: /);
  });

  it('no default route: said so, with what to do', async () => {
    writeFileSync(file, stringify(gate64Config('masquerade')));
    await topology.sh('node', 'ip -4 route del default');
    untouched = await nodeState(topology);
    try {
      expect(await refusal([GATE64, 'run', '-c', file]))
        .to.match(/default route/)
        .and.to.match(/hint: /);
    } finally {
      await topology.sh('node', 'ip -4 route add default via 192.0.2.254');
      untouched = await nodeState(topology);
    }
  });

  for (const [names, missing] of [
    ['-all', /CAP_NET_ADMIN and CAP_BPF/],
    ['-net_admin', /CAP_NET_ADMIN/],
    ['-bpf,-sys_admin', /CAP_BPF/],
  ] as const) {
    it(`without capabilities (${names}): named, with what to do`, async () => {
      writeFileSync(file, stringify(gate64Config('masquerade')));
      const dropped = ['setpriv', `--inh-caps=${names}`, `--bounding-set=${names}`, '--', GATE64, 'run', '-c', file];
      expect(await refusal(dropped))
        .to.match(missing)
        .and.to.match(/hint: .*root/);
    });
  }

  it('an address that DNS cannot listen on is named', async () => {
    writeFileSync(file, stringify(gate64Config('masquerade', { dns: { listen: ['192.0.2.99:5364'] } })));
    expect(await refusal([GATE64, 'run', '-c', file])).to.match(/192\.0\.2\.99:5364/);
  });

  for (const [what, kind, port] of [
    ['DNS (UDP)', 'UDP4-RECV', 5364],
    ['DNS (TCP)', 'TCP4-LISTEN', 5364],
    ['HTTP', 'TCP4-LISTEN', 9164],
  ] as const) {
    it(`a port in use, wanted for ${what}, is named`, async () => {
      writeFileSync(file, stringify(gate64Config('masquerade')));
      await using squatter = topology.start('node', ['socat', '-u', `${kind}:${port},bind=127.0.0.1`, 'STDOUT']);
      await eventually('the port is taken', async () => {
        if (squatter.exitCode() !== undefined) throw new Error(squatter.log());
        return (await topology.sh('node', `ss -Hlntu 'sport = :${port}'`)) === '' ? undefined : true;
      });
      expect(await refusal([GATE64, 'run', '-c', file])).to.match(
        new RegExp(`127\\.0\\.0\\.1:${port}.*(?:EADDRINUSE|in use)`),
      );
    });
  }

  it("a route of somebody else's for the prefix is not taken over", async () => {
    await topology.sh('node', 'ip -6 route add local 64:ff9b::/96 dev lo');
    untouched = await nodeState(topology);
    try {
      writeFileSync(file, stringify(gate64Config('masquerade')));
      expect(await refusal([GATE64, 'run', '-c', file]))
        .to.match(/64:ff9b::\/96/)
        .and.to.match(/ip -6 route del/);
    } finally {
      await topology.sh('node', 'ip -6 route del local 64:ff9b::/96 dev lo');
    }
  });
});
