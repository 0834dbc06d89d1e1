// SPDX-License-Identifier: Apache-2.0
// One truth: after traffic the page, the command line, /metrics and the pinned maps show the same figures.

import { expect } from 'chai';
import { openReader } from '../../src/datapath/open.ts';
import type { PageFacts } from '../../src/page/facts.ts';
import { metricSum } from '../helpers/gate64.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';

const PROTOCOLS = ['tcp', 'udp', 'icmp'] as const;
const STATES = ['offered', 'leased', 'resting', 'retired'] as const;
type Counts = Record<string, number>;

interface Figures {
  readonly sessions: Counts;
  readonly bindings: Counts;
  readonly blocks: Counts;
  /** Ports of the pool in use. */
  readonly ports: Counts;
  /** By reason and direction. */
  readonly drops: Counts;
}

interface AddressJson {
  readonly ports: { readonly used: Counts };
  readonly blocks: Counts;
}

const count = (keys: readonly string[]): Counts => {
  const sums: Counts = {};
  for (const key of keys) sums[key] = (sums[key] ?? 0) + 1;
  return sums;
};
const perKey = (keys: readonly string[], of: (key: string) => number): Counts =>
  Object.fromEntries(keys.map((key) => [key, of(key)]));
const summed = (rows: readonly Counts[], keys: readonly string[]) =>
  perKey(keys, (key) => rows.reduce((sum, row) => sum + (row[key] ?? 0), 0));
const dropsOf = (rows: readonly { reason: string; direction: string; count: number }[]): Counts =>
  Object.fromEntries(rows.map(({ reason, direction, count: n }) => [`${reason} ${direction}`, n]));

function poolFigures(addresses: readonly AddressJson[]): Pick<Figures, 'blocks' | 'ports'> {
  return {
    blocks: summed(
      addresses.map((one) => one.blocks),
      STATES,
    ),
    ports: summed(
      addresses.map((one) => one.ports.used),
      PROTOCOLS,
    ),
  };
}

for (const egress of EGRESSES) {
  describe(`figures, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    before(async () => {
      scene = await Scene.create({ egress });
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    function ofMaps(): Figures {
      using reader = openReader();
      const blocks = reader.blocks();
      return {
        sessions: perKey(PROTOCOLS, (key) => count(reader.sessions().map(({ protocol }) => protocol))[key] ?? 0),
        bindings: perKey(PROTOCOLS, (key) => count(reader.bindings().map(({ protocol }) => protocol))[key] ?? 0),
        blocks: perKey(STATES, (key) => count(blocks.map(({ state }) => state))[key] ?? 0),
        ports: summed(
          blocks.map(({ used }) => used),
          PROTOCOLS,
        ),
        drops: dropsOf(reader.drops()),
      };
    }

    async function ofPage(): Promise<Figures> {
      const { datapath } = JSON.parse((await scene.gate64.http('/page.json')).stdout) as PageFacts;
      if (datapath === null) throw new Error('the page has no data plane');
      const { sessions, bindings, drops, pool } = datapath;
      return { sessions, bindings, ...poolFigures(pool), drops: dropsOf(drops) };
    }

    async function ofMetrics(): Promise<Figures> {
      const text = await scene.gate64.metrics();
      const dropLine = /^gate64_nat64_drops_total\{(.*)\} (\d+)$/gm;
      const label = (labels: string, name: string) => new RegExp(`${name}="([^"]*)"`).exec(labels)?.[1] ?? '';
      const drops = [...text.matchAll(dropLine)].map(([, labels = '', value]) => {
        return { reason: label(labels, 'reason'), direction: label(labels, 'direction'), count: Number(value) };
      });
      const perProtocol = (name: string) => perKey(PROTOCOLS, (protocol) => metricSum(text, name, { protocol }));
      return {
        sessions: perProtocol('gate64_nat64_sessions'),
        bindings: perProtocol('gate64_nat64_bindings'),
        blocks: perKey(STATES, (state) => metricSum(text, 'gate64_nat64_blocks', { state })),
        ports: perKey(PROTOCOLS, (protocol) => metricSum(text, 'gate64_nat64_pool_ports', { protocol, state: 'used' })),
        drops: dropsOf(drops.filter((row) => row.count > 0)),
      };
    }

    async function ofCommands(): Promise<Figures> {
      const [sessions, bindings, pool, drops] = await Promise.all([
        scene.gate64.json<{ protocol: string }[]>('sessions'),
        scene.gate64.json<{ protocol: string }[]>('bindings'),
        scene.gate64.json<{ addresses: AddressJson[] }>('pool'),
        scene.gate64.json<{ reason: string; direction: string; count: number }[]>('drops'),
      ]);
      return {
        sessions: perKey(PROTOCOLS, (key) => count(sessions.map(({ protocol }) => protocol))[key] ?? 0),
        bindings: perKey(PROTOCOLS, (key) => count(bindings.map(({ protocol }) => protocol))[key] ?? 0),
        ...poolFigures(pool.addresses),
        drops: dropsOf(drops),
      };
    }

    it('of the page, the commands, /metrics and the maps agree once no packet comes', async () => {
      const { topology, gate64 } = scene;
      await scene.serve('one', 1);
      for (let round = 0; round < 3; round++) await scene.download('http://v4only.example/one');
      await topology.sh('pod', 'echo hello | socat -t 1 - UDP6:[64:ff9b::198.51.100.10]:7007');
      await topology.run('pod', ['ping', '-c', '2', '-i', '0.2', '64:ff9b::c633:640a']);
      // Refused in three ways: not global, loopback, and no hop left.
      await topology.run('pod', ['ping', '-c', '1', '-W', '1', '64:ff9b::a00:1'], { accept: 'any' });
      await topology.run('pod', ['ping', '-c', '1', '-W', '1', '64:ff9b::7f00:1'], { accept: 'any' });
      await topology.run('pod', ['ping', '-c', '1', '-W', '1', '-t', '2', '64:ff9b::c633:640a'], { accept: 'any' });
      // What the page read before is kept for two seconds.
      await new Promise((resolve) => setTimeout(resolve, 2500));

      const maps = ofMaps();
      expect(maps.sessions['tcp']).to.be.at.least(3);
      expect(maps.sessions['udp']).to.be.at.least(1);
      expect(maps.sessions['icmp']).to.be.at.least(1);
      expect(maps.blocks['leased']).to.be.at.least(1);
      expect(Object.keys(maps.drops)).to.not.have.length(0);
      expect(await ofPage(), 'the page').to.deep.equal(maps);
      expect(await ofMetrics(), '/metrics').to.deep.equal(maps);
      expect(await ofCommands(), 'the commands').to.deep.equal(maps);
      const { datapath } = await gate64.json<{ datapath: Pick<Figures, 'sessions' | 'bindings' | 'blocks'> }>(
        'status',
        '-c',
        gate64.configFile,
      );
      expect(datapath.sessions, 'status').to.deep.equal(maps.sessions);
      expect(datapath.bindings, 'status').to.deep.equal(maps.bindings);
      expect(datapath.blocks['leased'], 'status').to.equal(maps.blocks['leased']);
      expect(datapath.blocks['free'], 'status').to.equal(maps.blocks['offered']);
      expect(ofMaps(), 'nothing moved meanwhile').to.deep.equal(maps);
    });
  });
}
