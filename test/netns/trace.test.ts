// SPDX-License-Identifier: Apache-2.0
// gate64 trace on a node: a healthy flow by both ways out, and the stage at which each broken one stops.

import { expect } from 'chai';
import { gate64Config } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { POD, SERVER4, SERVER4_OTHER } from '../helpers/topology.ts';

interface TraceJson {
  readonly stages: readonly {
    readonly stage: string;
    readonly verdict: string;
    readonly message: string;
    readonly remedy: string | null;
    readonly command: string | null;
  }[];
  readonly live: { readonly outcome: string; readonly session: { readonly packetsIn: number } | null } | null;
}

const NAME = 'v4only.example';
/** More flows than the smallest quota lets a pod have. */
const FLOWS = `
  for (let i = 0; i < 30; i++) {
    const socket = require('node:dgram').createSocket('udp6');
    socket.send('x', 7, '64:ff9b::198.51.100.10', () => socket.close());
  }
`;
const WALK = ['name', 'route', 'device', 'policy', 'port', 'egress'];
/** Nothing is at either. */
const SERVER4_FREE = '198.51.100.12';
const NOBODY = '198.51.100.99';

for (const egress of EGRESSES) {
  describe(`gate64 trace, egress ${egress}`, function () {
    this.timeout(120_000);
    let scene: Scene;

    before(async () => {
      scene = await Scene.create({ egress, config: { nat64: { deny: [`${SERVER4_OTHER}/32`], ...poolOf(egress) } } });
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    const trace = async (...args: string[]) => {
      const argv = ['trace', POD, ...args, '-c', scene.gate64.configFile, '-o', 'json'];
      const { code, stdout, stderr } = await scene.gate64.cli(argv, { accept: [1] });
      expect(stdout, stderr).not.to.equal('');
      const json = JSON.parse(stdout) as TraceJson;
      const problems = json.stages.filter(({ verdict }) => verdict === 'problem');
      expect(code, stdout).to.equal(problems.length === 0 ? 0 : 1);
      return { ...json, last: json.stages.at(-1) as TraceJson['stages'][number] };
    };
    /** Where a trace stops, and that all before is fine. */
    const stopsAt = async (stage: string, message: RegExp, ...args: string[]) => {
      const found = await trace(...args);
      expect(found.last, JSON.stringify(found)).to.include({ stage, verdict: 'problem' });
      expect(found.last.message).to.match(message);
      return found.last;
    };
    const reload = async (nat64: object) => {
      const { configFile } = scene.gate64;
      const lastReload = async () =>
        (await scene.gate64.json<{ service: { config: { lastReload: { at: string } } } }>('status', '-c', configFile))
          .service.config.lastReload.at;
      const before = await lastReload();
      const deny = [`${SERVER4_OTHER}/32`];
      scene.gate64.write(gate64Config(egress, { nat64: { deny, ...poolOf(egress), ...nat64 } }));
      scene.gate64.process?.signal('SIGHUP');
      await eventually('it is reloaded', async () => ((await lastReload()) === before ? undefined : true));
    };

    it('walks a flow that nobody has begun: all is fine, and whether a reply comes is not known', async () => {
      const { stages } = await trace(NAME, '80');
      expect(stages.map(({ stage, verdict }) => `${stage} ${verdict}`)).to.deep.equal([
        ...WALK.map((stage) => `${stage} ok`),
        'reply unknown',
      ]);
      expect(stages[0]?.message).to.match(
        /A 198\.51\.100\.10 and no AAAA; the DNS64 at 127\.0\.0\.1:5364 answers 64:ff9b::/,
      );
    });

    it('sees the session and the reply once the pod has asked', async () => {
      await scene.download(`http://${NAME}/one`);
      const { stages } = await trace(NAME, '80');
      expect(stages.map(({ verdict }) => verdict)).to.deep.equal(Array(7).fill('ok'));
      expect(stages.at(-1)?.message).to.match(/^\d+ packets out, [1-9]\d* in/);
    });

    for (const [protocol, port, what] of [
      ['tcp', '80', /^connected, after .* ms; \d+ packets out, \d+ in/],
      ['tcp', '81', /^refused: no one listens on that port/],
      ['udp', '53', /^\d+ octets, after/],
      ['icmp', '', /^an echo reply, after/],
    ] as const) {
      it(`--live: ${protocol} ${port} from the pod's namespace is sent, has a session, is answered`, async () => {
        const words = [SERVER4, ...(port === '' ? [] : [port])];
        const { stages, live } = await trace(
          ...words,
          '--proto',
          protocol,
          '--live',
          '--netns',
          scene.topology.netns('pod'),
        );
        expect(stages.map(({ stage, verdict }) => `${stage} ${verdict}`)).to.deep.equal(
          [...WALK, 'probe', 'session', 'reply'].map((stage) => `${stage} ok`),
        );
        expect(stages.at(-1)?.message).to.match(what);
        expect(live?.outcome).to.equal('answered');
        expect(live?.session?.packetsIn).to.be.at.least(1);
      });
    }

    it('--live: a server that does not answer is told from a packet that did not arrive', async () => {
      await scene.topology.sh(
        'server',
        'nft "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i tcp dport 7 drop"',
      );
      const last = await stopsAt(
        'reply',
        /^no answer within 3 s; \d packets out, 0 in$/,
        SERVER4,
        '7',
        '--live',
        '--netns',
        scene.topology.netns('pod'),
      );
      expect(last.remedy).to.match(/does a firewall beyond let it answer/);
      await stopsAt('reply', /packets out, 0 in, last seen .* no answer came back/, SERVER4, '7');
      expect((await trace(NOBODY, '80', '--live', '--netns', scene.topology.netns('pod'))).last).to.include({
        stage: 'reply',
        verdict: 'problem',
      });
    });

    it('a denied destination stops at the policy; a name of it has no AAAA', async () => {
      await stopsAt('policy', /198\.51\.100\.11 is refused: nat64\.deny has 198\.51\.100\.11\/32/, SERVER4_OTHER, '80');
      await stopsAt('name', /NXDOMAIN/, 'nowhere.example');
    });

    it('a native address is none of gate64’s business', async () => {
      const { stages } = await trace('2001:db8::80', '80');
      expect(stages).to.have.length(1);
      expect(stages[0]?.message).to.match(/gate64 is not in the way/);
    });

    it('a full quota of sessions stops at the port', async () => {
      await reload({ maxSessionsPerPod: 16 });
      await scene.topology.run('pod', [process.execPath, '-e', FLOWS]);
      const quota = /the pod has all the sessions it may have \(\d of \d+ blocks, 16 of 16 sessions\)/;
      await stopsAt('port', quota, SERVER4_FREE, '80');
      await reload({});
      expect((await trace(SERVER4_FREE, '80')).stages[4]).to.include({ stage: 'port', verdict: 'ok' });
    });

    it('without its service: a missing route, forwarding off, a detached program', async () => {
      scene.gate64.process?.signal('SIGKILL');
      await scene.gate64.process?.ended;
      const node = (script: string) => scene.topology.sh('node', script);
      await node('ip -6 route del 64:ff9b::/96 dev gate64');
      const route = await stopsAt('route', /is refused: .*, not to gate64$/, SERVER4, '80');
      await node(route.command as string);
      expect((await trace(SERVER4, '80')).stages[1]).to.include({ stage: 'route', verdict: 'ok' });

      await node('sysctl -qw net.ipv6.conf.all.forwarding=0');
      const forwarding = await stopsAt('route', /does not forward IPv6/, SERVER4, '80');
      await node(forwarding.command as string);

      await node('tc qdisc del dev gate64 clsact 2>/dev/null || true; rm -f /sys/fs/bpf/gate64/link-gate');
      await stopsAt('device', /no program of gate64 hangs at the egress of gate64/, SERVER4, '80');
      await stopsAt('name', /127\.0\.0\.1:5364 does not answer/, NAME, '80');
    });
  });
}

function poolOf(egress: string): object {
  return egress === 'direct' ? { pool: [{ addresses: 'uplink', ports: '61001-65535' }] } : {};
}
