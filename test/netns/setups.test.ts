// SPDX-License-Identifier: Apache-2.0
// Set-ups that are broken: gate64 doctor names each rightly and names nothing else, its advice followed to the letter mends it,
// and connections go through again.

import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { expect } from 'chai';
import { hangForeignProgram } from '../helpers/foreign-program.ts';
import { GATE64, gate64Config } from '../helpers/gate64.ts';
import { startCoreDns } from '../helpers/parts.ts';
import { eventually } from '../helpers/processes.ts';
import { Scene, corefile } from '../helpers/scene.ts';
import { NODE4, NODE6, ROUTER4, SERVER4, type Namespace } from '../helpers/topology.ts';

interface Found {
  readonly name: string;
  readonly severity: string;
  readonly remedy: string;
  readonly command: string | null;
}
interface DoctorJson {
  readonly findings: readonly Found[];
  readonly ran: readonly { readonly name: string; readonly exit: number | null }[];
}

type Step = (scene: Scene, found: Found) => Promise<void>;

interface Setup {
  readonly name: string;
  readonly what: string;
  readonly breaks: string | ((scene: Scene) => Promise<void>);
  /** Default: the command that is printed, by `sh -c`. */
  readonly mend?: Step;
  /** Whether nothing goes through meanwhile. */
  readonly isDown?: boolean;
  /** What does not go through meanwhile and does again; default: a download by address. */
  readonly goes?: readonly string[];
  /** Findings that follow from this one. */
  readonly also?: readonly string[];
}

const ADDRESS = '[64:ff9b::198.51.100.10]';
const get = (url: string) => ['curl', '-sS', '--fail', '-o', '/dev/null', '--max-time', '6', url];
const BIG = ['ping', '-M', 'do', '-s', '1400', '-c', '1', '-W', '2', '64:ff9b::c633:640a'];
const FOREIGN = '/sys/fs/bpf/foreign-link';

const stop = async ({ gate64 }: Scene) => {
  gate64.process?.signal('SIGKILL');
  await gate64.process?.ended;
};
const byStart: Step = async (scene, { remedy }) => {
  expect(remedy).to.match(/^Start gate64/);
  await scene.gate64.start();
  await stop(scene);
};
const inNamespace = (namespace: Namespace, script: string): Step => {
  return async ({ topology }) => void (await topology.sh(namespace, script));
};
const withCorefile = async (scene: Scene, text: string) => {
  await scene.coreDns?.stop();
  scene.coreDns = await startCoreDns(text, { netns: scene.topology.netns('node') });
};
const firewall = (rule: string) => (scene: Scene) =>
  inNamespace(
    'server',
    `nft 'add table ip fw; add chain ip fw in { type filter hook input priority 0; }; add rule ip fw in ${rule}'`,
  )(scene, {} as Found);
const FORWARD = 'forward . 127.0.0.1:5364';

/** While no service runs, which would put it back by itself. */
const ALONE: readonly Setup[] = [
  {
    name: 'route-missing',
    what: 'a route that is missing',
    breaks: 'ip -6 route del 64:ff9b::/96 dev gate64',
    isDown: true,
  },
  {
    name: 'forwarding-off',
    what: 'forwarding that is off',
    breaks: 'sysctl -qw net.ipv6.conf.all.forwarding=0',
    isDown: true,
  },
  { name: 'reverse-path-strict', what: 'a strict rp_filter', breaks: 'sysctl -qw net.ipv4.conf.gate64.rp_filter=1' },
  {
    name: 'device-mtu-small',
    what: 'a small MTU',
    breaks: 'ip link set dev gate64 mtu 1300',
    isDown: true,
    goes: BIG,
    mend: async ({ topology }, { command }) => {
      await topology.run('node', ['sh', '-c', command ?? 'false']);
      // The pod keeps what it was told of the path for ten minutes (RFC 8201 §4).
      await topology.sh('pod', 'ip -6 route flush cache');
    },
  },
  {
    name: 'program-before-ours',
    what: "a foreign TC program in front of gate64's that ends the chain",
    breaks: ({ topology }) => hangForeignProgram(topology, 'gate64', 'egress', FOREIGN),
    isDown: true,
  },
  { name: 'masquerade-missing', what: 'nft flush ruleset', breaks: 'nft flush ruleset', isDown: true, mend: byStart },
  {
    name: 'uplink-missing',
    what: 'no IPv4 route',
    also: ['upstream-unreachable'],
    breaks: 'ip -4 route del default',
    isDown: true,
    mend: async ({ topology }, { remedy }) => {
      expect(remedy).to.match(/^Add a default route/);
      await topology.sh('node', `ip -4 route add default via ${ROUTER4}`);
    },
  },
  {
    name: 'old-layout',
    what: 'an old pinned layout',
    breaks: 'cd /sys/fs/bpf/gate64 && mv maps-* maps-1',
    mend: byStart,
  },
  { name: 'device-missing', what: 'a deleted device', breaks: 'ip link del gate64', isDown: true, mend: byStart },
];

/** Beside a service that runs. */
const BESIDE: readonly Setup[] = [
  {
    name: 'upstream-unreachable',
    what: 'an upstream that cannot be reached',
    breaks: firewall('meta l4proto { tcp, udp } th dport 53 drop'),
    mend: inNamespace('server', 'nft delete table ip fw'),
    isDown: true,
    goes: get('http://files.example/one'),
  },
  {
    name: 'upstream-without-tcp',
    what: 'an upstream without TCP',
    breaks: firewall('tcp dport 53 reject with tcp reset'),
    mend: inNamespace('server', 'nft delete table ip fw'),
    goes: get('http://other.example/one'),
  },
  {
    name: 'dns64-doubled',
    what: "CoreDNS's own dns64 besides",
    breaks: (scene) =>
      withCorefile(
        scene,
        corefile().replace('errors\n', 'errors\n  dns64 {\n    prefix 2001:db8:64::/96\n    translate_all\n  }\n'),
      ),
    mend: async (scene, { remedy }) => {
      expect(remedy).to.match(/^Take the plugin dns64 out of its Corefile/);
      await withCorefile(scene, corefile());
    },
    isDown: true,
    goes: get('http://v4only.example/one'),
  },
  {
    name: 'coredns-not-forwarding',
    what: 'CoreDNS that does not forward to gate64',
    breaks: (scene) => withCorefile(scene, corefile().replace(FORWARD, `forward . ${SERVER4}:53`)),
    mend: async (scene, { remedy }) => {
      const line = /say: (forward \. \S+)/.exec(remedy)?.[1] ?? 'no such line';
      await withCorefile(scene, corefile().replace(FORWARD, line));
    },
    isDown: true,
    goes: get('http://v4only.example/one'),
  },
];

describe('broken set-ups', function () {
  this.timeout(90_000);
  let scene: Scene;
  const doctor = async (...more: string[]): Promise<DoctorJson> => {
    const { gate64 } = scene;
    const args = ['doctor', '-c', gate64.configFile, '-o', 'json', ...more];
    return JSON.parse((await gate64.cli(args, { accept: [1] })).stdout) as DoctorJson;
  };
  const names = async (...more: string[]) => (await doctor(...more)).findings.map(({ name }) => name);
  const goes = async (argv: readonly string[]) => (await scene.topology.run('pod', argv, { accept: 'any' })).code === 0;

  async function breakAndMend(setup: Setup, ...more: string[]): Promise<void> {
    const { name, breaks, isDown = false, goes: what = get(`http://${ADDRESS}/one`) } = setup;
    if (typeof breaks === 'string') await scene.topology.sh('node', breaks);
    else await breaks(scene);
    const { findings } = await doctor(...more);
    expect(findings.map((one) => one.name)).to.deep.equal([name, ...(setup.also ?? [])]);
    if (isDown) expect(await goes(what), 'goes through although it is broken').to.equal(false);
    const found = findings[0] as Found;
    if (setup.mend !== undefined) await setup.mend(scene, found);
    else await scene.topology.run('node', ['sh', '-c', found.command ?? 'false']);
    expect(await names(...more)).to.deep.equal([]);
    // Resolvers keep a failure for some seconds (RFC 9520).
    await eventually('it goes through again', async () => ((await goes(what)) ? true : undefined), 20_000);
  }

  after(async () => {
    rmSync(FOREIGN, { force: true });
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  describe('masquerade', () => {
    before(async () => {
      scene = await Scene.create({ egress: 'masquerade' });
    });

    const SERVER = ['--server', `[${NODE6}]:53`];

    it('a healthy node has none, its CoreDNS included', async () => {
      expect(await names(...SERVER)).to.deep.equal([]);
    });

    it('uplink-packets-long: packets joined to more than a header can say are named, and the advice mends it', function () {
      // iproute2 and the kernel have it since 6.3.
      const help = execFileSync('sh', ['-c', 'ip link help 2>&1 || true'], { encoding: 'utf8' });
      if (!help.includes('gro_ipv4_max_size')) this.skip();
      const breaks = 'ip link set dev up0 gro_ipv4_max_size 185000';
      return breakAndMend({ name: 'uplink-packets-long', what: '', breaks }, ...SERVER);
    });

    for (const setup of BESIDE) {
      it(`${setup.name}: ${setup.what} is named, and the advice mends it`, () => breakAndMend(setup, ...SERVER));
    }

    it('capability-missing: is named, and capabilities granted as the advice says mend it', async () => {
      const run = async (...caps: string[]) => {
        const argv = ['setpriv', ...caps, GATE64, 'doctor', '-c', scene.gate64.configFile, '-o', 'json'];
        const { stdout } = await scene.topology.run('node', argv, { accept: [1] });
        return (JSON.parse(stdout) as DoctorJson).findings;
      };
      const none = await run('--bounding-set', '-net_admin,-bpf,-sys_admin');
      expect(none.map(({ name }) => name)).to.deep.equal(['capability-missing']);
      const granted = /grant (\w+) and (\w+)/.exec(none[0]?.remedy ?? '')?.slice(1) ?? [];
      const add = granted.map((name) => `+${name.toLowerCase().replace('cap_', '')}`).join(',');
      expect(await run('--bounding-set', `-all,${add}`)).to.deep.equal([]);
    });

    describe('while no service runs', () => {
      before(() => stop(scene));
      for (const setup of ALONE) {
        it(`${setup.name}: ${setup.what} is named, and the advice mends it`, () => breakAndMend(setup));
      }

      it('program-before-ours: is an error once packets are seen to pass gate64 by', async () => {
        await hangForeignProgram(scene.topology, 'gate64', 'egress', FOREIGN);
        expect((await doctor()).findings.map(({ severity }) => severity)).to.deep.equal(['warning']);
        const pings = scene.topology.start('pod', ['ping', '-i', '0.1', '64:ff9b::c633:640a']);
        const [found] = (await doctor()).findings;
        await pings.stop();
        expect(found).to.include({ name: 'program-before-ours', severity: 'error' });
        await scene.topology.run('node', ['sh', '-c', found?.command ?? 'false']);
      });

      it('--fix mends what is safe, and leaves the rest as it is', async () => {
        await hangForeignProgram(scene.topology, 'gate64', 'egress', FOREIGN);
        await scene.topology.sh(
          'node',
          `ip link set dev gate64 mtu 1300; sysctl -qw net.ipv4.conf.gate64.rp_filter=1
          nft 'add table inet fw; add chain inet fw FORWARD { type filter hook forward priority 0; policy drop; }'`,
        );
        const { findings, ran } = await doctor('--fix');
        expect(ran.map(({ name, exit }) => `${name} ${exit}`)).to.have.members([
          'device-mtu-small 0',
          'reverse-path-strict 0',
        ]);
        const left = ['forward-dropped', 'program-before-ours'];
        expect(findings.map(({ name }) => name)).to.have.members(left);
        for (const { command } of findings) await scene.topology.run('node', ['sh', '-c', command ?? 'false']);
        expect(await names()).to.deep.equal([]);
        await scene.topology.sh('node', 'nft delete table inet fw');
      });
    });
  });

  describe('direct', () => {
    const pool = (ports: string) => gate64Config('direct', { nat64: { pool: [{ addresses: `${NODE4}/32`, ports }] } });
    before(async () => {
      await scene[Symbol.asyncDispose]();
      scene = await Scene.create({ egress: 'direct' });
    });

    it('pool-ports-nodeports: a pool over NodePorts is named, and another range of ports mends it', async () => {
      const edit = async (ports: string) => {
        scene.gate64.write(pool(ports));
        // Until the service has taken the file, the node is not yet as it says.
        const isTaken = async () => ((await names()).includes('sysctl-changed') ? undefined : true);
        await eventually('the service takes the file', isTaken, 15_000);
      };
      await breakAndMend({
        name: 'pool-ports-nodeports',
        what: 'a pool over NodePorts',
        breaks: () => edit('30000-32767'),
        mend: (_, { remedy }) => {
          expect(remedy).to.include('leave these ports out of nat64.pool');
          return edit('20000-29999');
        },
      });
    });

    it("program-before-ours: one at the uplink's ingress is named, and the advice mends it", () =>
      breakAndMend({
        name: 'program-before-ours',
        what: '',
        breaks: ({ topology }) => hangForeignProgram(topology, 'up0', 'ingress', FOREIGN),
        isDown: true,
      }));
  });
});
