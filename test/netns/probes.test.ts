// SPDX-License-Identifier: Apache-2.0
// Idle TCP connections past their time (RFC 6146 §3.5.2.2): one whose pod still has it lives on, since its kernel answers
// the probe; one that the pod has forgotten, or whose pod is gone, ends.

import { expect } from 'chai';
import { monotonicNs } from '../../src/datapath/clock.ts';
import { openMaps } from '../../src/datapath/ebpf-reader.ts';
import { Pins } from '../../src/datapath/pins.ts';
import { TypedMap } from '../../src/libbpf/mod.ts';
import { flow4Codec, flow4KeyCodec, flow6Codec, flow6KeyCodec, STATE } from '../../src/model/layout.gen.ts';
import { eventually, type Background } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { POD, SERVER4 } from '../helpers/topology.ts';

interface Session {
  readonly state: string;
  readonly source: { readonly address: string };
  readonly destination: { readonly port: number };
  readonly createdAt: string;
}

const PORTS = { alive: 7021, forgotten: 7022, gone: 7023 } as const;
const GONE = '2001:db8:1::33';
const TRANSITORY = 4;
/** The shortest that a configuration may ask for: none waits so long, the maps' times are put back. */
const ESTABLISHED_NS = 7_200_000_000_000n;

const ECHO = `for (const port of [${Object.values(PORTS).join()}])
  require('net').createServer((s) => { s.on('error', () => {}); s.pipe(s); }).listen(port, '${SERVER4}');
console.log('listening');`;
/** Says "connected"; asks for an echo on SIGUSR2, forgets the connection on SIGTERM. */
const client = (port: number, from: string) => `const s = require('net').connect(
  { port: ${port}, host: '64:ff9b::${SERVER4}', localAddress: '${from}' }, () => console.log('connected'));
s.on('data', (data) => console.log(String(data)));
s.on('error', (error) => console.log(error.code));
process.on('SIGUSR2', () => s.write('echoed'));
process.on('SIGTERM', () => { s.resetAndDestroy(); console.log('forgotten'); });
setInterval(() => {}, 1000);`;

/** Makes every established session look as if it had been silent for ESTABLISHED's time. */
function age(): void {
  const maps = openMaps(new Pins());
  const lastNs = monotonicNs() - ESTABLISHED_NS - 2_000_000_000n;
  try {
    const six = new TypedMap(maps.n64_flow6, flow6KeyCodec, flow6Codec);
    const four = new TypedMap(maps.n64_flow4, flow4KeyCodec, flow4Codec);
    for (const [key, value] of Array.from(four.entries())) {
      if (value.state === STATE.ESTABLISHED) four.update(key, { ...value, lastNs });
    }
    for (const [key, value] of Array.from(six.entries())) {
      if (value.state === STATE.ESTABLISHED) six.update(key, { ...value, lastNs });
    }
  } finally {
    for (const map of Object.values(maps)) map.close();
  }
}

for (const egress of EGRESSES) {
  describe(`idle TCP connections, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;

    before(async () => {
      scene = await Scene.create({
        egress,
        config: { nat64: { timeouts: { tcpTransitory: TRANSITORY, tcpClosing: 2 } } },
      });
      const echo = scene.topology.start('server', [process.execPath, '-e', ECHO]);
      await eventually('the server listens', () => (echo.log().includes('listening') ? true : undefined));
      await scene.topology.sh('pod', `ip -6 addr add ${GONE}/64 dev eth0 nodad preferred_lft 0`);
      // What firewalls of nodes do (kube-proxy's, too): connection tracking knows no segment outside of its window.
      await scene.topology.sh(
        'node',
        `nft -f - <<'N'
table ip6 strict {
  chain forward { type filter hook forward priority 0; ct state invalid counter drop; }
}
N`,
      );
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    const sessions = async () => {
      const all = await scene.gate64.json<Session[]>('sessions', '--proto', 'tcp');
      const mine = new Map(all.map((session) => [session.destination.port, session]));
      return Object.fromEntries(Object.entries(PORTS).map(([name, port]) => [name, mine.get(port)]));
    };
    const connect = async (port: number, from: string): Promise<Background> => {
      const started = scene.topology.start('pod', [process.execPath, '-e', client(port, from)]);
      await eventually('it connects', () => (started.log().includes('connected') ? true : undefined));
      return started;
    };

    it('N6146-3.5.2.2-20: N6146-3.5.2.2-29: N6146-3.5.2.2-31: live on while the pod has them, and end when it does not', async () => {
      const alive = await connect(PORTS.alive, POD);
      const forgotten = await connect(PORTS.forgotten, POD);
      await connect(PORTS.gone, GONE);
      const before = await sessions();
      expect(Object.values(before).map((session) => session?.state)).to.deep.equal(Array(3).fill('established'));

      // Nobody hears that it forgets.
      await scene.topology.sh(
        'pod',
        `nft -f - <<'N'
table ip6 mute {
  chain output { type filter hook output priority 0; tcp flags & (fin | rst) != 0 drop; }
}
N`,
      );
      forgotten.signal('SIGTERM');
      await eventually('it forgets', () => (forgotten.log().includes('forgotten') ? true : undefined));
      await scene.topology.sh('pod', 'nft delete table ip6 mute');
      await scene.topology.sh('pod', `ip -6 addr del ${GONE}/64 dev eth0`);

      age();
      await eventually(
        'those without a pod end',
        async () => {
          const { forgotten: one, gone: other } = await sessions();
          return one === undefined && other === undefined ? true : undefined;
        },
        20_000,
      );
      const after = await sessions();
      expect(after['alive']?.state).to.equal('established');
      const createdAt = [after, before].map(({ alive: one }) => Date.parse(one?.createdAt ?? ''));
      expect(createdAt[0], 'it is the one that it was').to.be.closeTo(createdAt[1] as number, 50);
      alive.signal('SIGUSR2');
      await eventually('the connection works', () => (alive.log().includes('echoed') ? true : undefined));
    });
  });
}
