// SPDX-License-Identifier: Apache-2.0
// The binding log of the running service agrees with the maps, over a rotation, a restart and what happens between.

import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { POD, SERVER4 } from '../helpers/topology.ts';

type Line = Readonly<Record<string, unknown>>;

const LITERAL = 'http://[64:ff9b::c633:640a]/one';
const STATIC = { protocol: 'tcp', ipv6: `[${POD}]:8080`, ipv4: '203.0.113.10:8080' };
const POOL = [{ addresses: '203.0.113.10', ports: '8080-12175' }];

describe('binding log', function () {
  this.timeout(60_000);
  let scene: Scene;
  let path: string;

  before(async () => {
    scene = await Scene.create({ egress: 'masquerade', config: { nat64: { pool: POOL, blockSize: 16 } } });
    path = join(scene.topology.directory, 'bindings.jsonl');
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  const text = (at: string) => {
    try {
      return readFileSync(at, 'utf8');
    } catch {
      return '';
    }
  };
  const lines = (at = path) =>
    text(at)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line);
  const written = (what: string, pick: (line: Line) => boolean) =>
    eventually(what, () => Promise.resolve(lines().find(pick)));
  const configured = (nat64: object) => {
    const own = { pool: POOL, blockSize: 16, allowNonGlobalIpv4: ['198.51.100.0/24'], bindingLog: path, ...nat64 };
    scene.gate64.write({ dns: { upstreams: [`${SERVER4}:53`] }, nat64: { egress: 'masquerade', ...own } });
    scene.gate64.process?.signal('SIGHUP');
  };
  const leased = async () => {
    const { blocks } = await scene.gate64.json<{ blocks: Record<string, unknown>[] }>('pool');
    return blocks
      .filter(({ state }) => state === 'leased')
      .map(({ address, firstPort, lastPort, holder }) => ({ address, firstPort, lastPort, pod: holder }));
  };

  it('G6888-s4-a: G6888-12-a: begins with who holds what since when; static bindings appear; no destination does', async () => {
    await scene.download(LITERAL);
    configured({ static: [STATIC] });
    await written('the static binding begins', ({ kind }) => kind === 'static');
    const [opened, ...held] = lines();
    expect(opened).to.include({ event: 'opened' });
    const blocks = held.filter(({ kind }) => kind === 'block');
    expect(
      blocks.map(({ address, firstPort, lastPort, pod }) => ({ address, firstPort, lastPort, pod })),
    ).to.deep.equal(await leased());
    for (const { from, at } of blocks) expect(Date.parse(String(from))).to.be.at.most(Date.parse(String(at)));
    const found = held.find(({ kind }) => kind === 'static');
    expect(found).to.include({ protocol: 'tcp', pod: POD, podPort: 8080, address: '203.0.113.10', firstPort: 8080 });
    expect(text(path)).not.to.include(SERVER4);
  });

  it('goes on in a new file after SIGHUP, also where the configuration is refused', async () => {
    renameSync(path, `${path}.1`);
    scene.gate64.write('nat64: { nonsense: 1 }');
    scene.gate64.process?.signal('SIGHUP');
    await written('the new file begins', ({ event }) => event === 'opened');
    await written('the static binding is held', ({ event, kind }) => event === 'held' && kind === 'static');
    configured({});
    const ended = await written('the static binding ends', ({ event, kind }) => event === 'ended' && kind === 'static');
    const [before] = lines(`${path}.1`).filter(({ kind }) => kind === 'static');
    expect(ended['from']).to.equal(before?.['from']);
  });

  it('has a block that was leased while the service was down, with the time from the map', async () => {
    scene.gate64.process?.signal('SIGKILL');
    await eventually('it ends', () =>
      Promise.resolve(scene.gate64.process?.exitCode() === undefined ? undefined : true),
    );
    const before = new Set((await leased()).map(({ firstPort }) => firstPort));
    const downAt = Date.now();
    // Each connection keeps a port of the 16 of a block.
    const urls = Array.from({ length: 20 }, () => LITERAL).join(' ');
    await scene.topology.sh('pod', `for url in ${urls}; do curl -sS --fail -o /dev/null "$url"; done`);
    const fresh = (await leased()).filter(({ firstPort }) => !before.has(firstPort));
    expect(fresh).to.have.length.greaterThan(0);
    const upAt = Date.now();
    renameSync(path, `${path}.2`);
    await scene.gate64.start();
    for (const block of fresh) {
      const line = await written('it is held', ({ firstPort }) => firstPort === block.firstPort);
      expect(line).to.include({ event: 'held', pod: POD, to: null });
      expect(Date.parse(String(line['from']))).to.be.within(downAt - 1000, upAt + 1000);
    }
  });
});
