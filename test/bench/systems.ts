// SPDX-License-Identifier: Apache-2.0
// What is compared on the packet side: gate64 with both ways out, and its peers, each set up as its users would.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GATE64 } from '../helpers/gate64.ts';
import { eventually, type Background } from '../helpers/processes.ts';
import { MANY, Rig, SERVER } from './rig.ts';

export const SYSTEMS = {
  plain: { title: 'plain IPv4 routing', family: 4, setup: () => undefined },
  nat44: { title: 'nftables NAT44', family: 4, setup: nftMasquerade('192.0.2.0/24') },
  direct: { title: 'gate64, direct', family: 6, setup: (rig: Rig) => startGate64(rig, 'direct') },
  accelerated: {
    title: 'gate64, direct, accelerated',
    family: 6,
    setup: (rig: Rig) => startGate64(rig, 'direct', "accelerate: ['pod*']"),
  },
  masquerade: { title: 'gate64, masquerade', family: 6, setup: (rig: Rig) => startGate64(rig, 'masquerade') },
  tayga: { title: 'Tayga + nft masquerade', family: 6, setup: startTayga },
} as const satisfies Record<
  string,
  { title: string; family: 4 | 6; setup: (rig: Rig) => Promise<unknown> | undefined }
>;

export type SystemName = keyof typeof SYSTEMS;

export class System {
  readonly name: SystemName;
  readonly rig: Rig;

  private constructor(name: SystemName, rig: Rig) {
    this.name = name;
    this.rig = rig;
  }

  static async start(name: SystemName): Promise<System> {
    const { family, setup } = SYSTEMS[name];
    const rig = await Rig.create(name, family);
    try {
      await setup(rig);
      const system = new System(name, rig);
      await eventually(`${name} carries a ping`, async () => {
        const { code } = await rig.run('pod', ['ping', '-c', '1', '-W', '1', system.destination(SERVER)], {
          accept: 'any',
        });
        return code === 0 ? true : undefined;
      });
      return system;
    } catch (error) {
      await rig[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** How the pod writes to an IPv4 address. */
  destination(v4: string): string {
    if (this.rig.family === 4) return v4;
    // Tayga refuses documentation addresses under the well-known prefix.
    return (this.name === 'tayga' ? '2001:db8:64::' : '64:ff9b::') + v4;
  }

  /** Any of the 256 destinations for many flows. */
  get manyDestinations(): string {
    return this.destination(`${MANY}1`);
  }
}

function nftMasquerade(source: string): (rig: Rig) => Promise<void> {
  return async (rig) => {
    const rule = `ip saddr ${source} oifname "up0" masquerade`;
    await rig.run('node', ['nft', '-f', '-'], {
      input: `table ip nat { chain post { type nat hook postrouting priority srcnat; ${rule}; }; }`,
    });
  };
}

async function startTayga(rig: Rig): Promise<void> {
  const conf = join(rig.directory, 'tayga.conf');
  writeFileSync(
    conf,
    `tun-device tayga0
ipv4-addr 192.0.2.1
ipv6-addr 2001:db8:ffff::1
prefix 2001:db8:64::/96
dynamic-pool 192.0.3.0/24
data-dir ${rig.directory}
`,
  );
  await rig.run('node', ['tayga', '-c', conf, '--mktun']);
  await rig.sh(
    'node',
    `ip link set tayga0 up
     ip route add 192.0.3.0/24 dev tayga0; ip -6 route add 2001:db8:64::/96 dev tayga0
     ip -6 route add 2001:db8:ffff::1 dev tayga0`,
  );
  await nftMasquerade('192.0.3.0/24')(rig);
  rig.start('node', ['tayga', '-d', '-c', conf, '--pidfile', join(rig.directory, 'tayga.pid')]);
}

function startGate64(rig: Rig, egress: 'direct' | 'masquerade', more = ''): Promise<unknown> {
  return runGate64(
    rig,
    `dns: { enabled: false }
nat64:
  egress: ${egress}
  ${more}
  maxBlocksPerPod: 64
  maxSessions: 4194304
  # One pod makes all the flows here.
  maxSessionsPerPod: 1048576
  allowNonGlobalIpv4: [198.51.100.0/24, 203.0.113.0/24]
log: { level: warn }
`,
  );
}

/** Runs it on the node until the rig goes; resolves when it is ready. */
export async function runGate64(rig: Rig, configuration: string): Promise<Background> {
  const conf = join(rig.directory, 'gate64.yaml');
  writeFileSync(conf, configuration);
  // Two of them at once: each needs pins of its own, and the devices of its own network namespace in /sys.
  const script = 'mount -t sysfs sysfs /sys; mount -t bpf bpf /sys/fs/bpf; exec "$@"';
  const gate64 = rig.start('node', ['unshare', '--mount', 'sh', '-ec', script, 'gate64', GATE64, 'run', '-c', conf]);
  await eventually(
    'gate64 is ready',
    async () => {
      if (gate64.exitCode() !== undefined) throw new Error(`gate64 ended: ${gate64.log()}`);
      const ready = ['curl', '-sS', '--fail', '--max-time', '5', 'http://127.0.0.1:9164/readyz'];
      return (await rig.run('node', ready, { accept: 'any' })).code === 0 ? true : undefined;
    },
    20_000,
  ).catch((cause: unknown) => {
    throw new Error(`gate64 does not get ready:\n${gate64.log()}`, { cause });
  });
  return gate64;
}
