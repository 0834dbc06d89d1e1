// SPDX-License-Identifier: Apache-2.0
// nat64.admit: dns, end to end: pods reach what DNS64 answered, themselves or by CoreDNS, and nothing else; a second DNS
// instance admits for the same NAT64; what runs goes on.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { Pins } from '../../src/datapath/pins.ts';
import { BpfMap } from '../../src/libbpf/mod.ts';
import { GATE64, gate64Config, metricSum } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { NODE6, POD, SERVER4, SERVER4_OTHER } from '../helpers/topology.ts';

const SECOND_POD = '2001:db8:1::3';
const DNS = { listen: ['127.0.0.1:5364', `[${NODE6}]:5364`] };
const NAT64 = { admit: 'dns', admitGrace: 5 };
const literal = (v4: string) => `[64:ff9b::${v4}]`;

describe('nat64.admit: dns', function () {
  this.timeout(60_000);
  let scene: Scene;
  before(async () => {
    scene = await Scene.create({ egress: 'masquerade', config: { dns: DNS, nat64: NAT64 } });
    await scene.topology.sh('pod', `ip -6 addr add ${SECOND_POD}/64 dev eth0 nodad`);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  /** True when the file came; false when the connection was refused. */
  const reaches = async (pod: string, url: string, options: string[] = []) => {
    const curl = ['curl', '-sS', '-o', '/dev/null', '--fail', '--max-time', '20', '--interface', pod, ...options, url];
    const { code, stderr } = await scene.topology.run('pod', curl, { accept: 'any' });
    if (code !== 0) expect(stderr).to.match(/Permission denied|Failed to connect|Could not connect|Couldn't connect/);
    return code === 0;
  };
  const refused = async () =>
    metricSum(await scene.gate64.metrics(), 'gate64_nat64_drops_total', { reason: 'not_admitted' });
  const dig = (name: string, port: number) =>
    scene.topology.sh('pod', `dig +short @${NODE6} -p ${port} AAAA ${name} | tail -1`);

  it('refuses a literal until a name has led there; then each pod reaches it, one behind CoreDNS too', async () => {
    expect(await reaches(POD, `http://${literal(SERVER4)}/one`)).to.equal(false);
    expect(await refused()).to.be.above(0);
    expect(await reaches(POD, 'http://v4only.example/one'), 'by CoreDNS').to.equal(true);
    expect(await reaches(SECOND_POD, `http://${literal(SERVER4)}/one`)).to.equal(true);
    expect(await reaches(SECOND_POD, `http://${literal(SERVER4_OTHER)}/one`)).to.equal(false);
  });

  it('stays so while the service is away, and when it is back', async () => {
    const { process } = scene.gate64;
    process?.signal('SIGTERM');
    process?.signal('SIGINT');
    await process?.ended;
    expect(await reaches(POD, `http://${literal(SERVER4)}/one`)).to.equal(true);
    expect(await reaches(POD, `http://${literal(SERVER4_OTHER)}/one`)).to.equal(false);
    await scene.gate64.start();
    expect(await reaches(SECOND_POD, `http://${literal(SERVER4)}/one`)).to.equal(true);
  });

  it('a second instance with DNS alone admits for the NAT64 of the node', async () => {
    const file = join(scene.topology.directory, 'dns-only.yaml');
    const config = gate64Config('masquerade', { dns: { listen: [`[${NODE6}]:5464`] }, nat64: { enabled: false } });
    writeFileSync(file, stringify({ ...config, http: { listen: '127.0.0.1:9165' } }));
    const instance = scene.topology.start('node', [GATE64, 'run', '-c', file]);
    {
      using map = BpfMap.openPinned(new Pins().map('n64_admitted'));
      for (const key of Array.from(map.keys())) map.delete(key);
    }
    expect(await reaches(POD, `http://${literal(SERVER4)}/one`)).to.equal(false);
    await eventually('it answers', async () => ((await dig('v4only.example', 5464)) === '' ? undefined : true));
    expect(await reaches(POD, `http://${literal(SERVER4)}/one`)).to.equal(true);
    await instance.stop();
  });

  it('a session begun before goes on when admit is set, and a new one is refused', async () => {
    scene.gate64.write(gate64Config('masquerade', { dns: DNS }));
    scene.gate64.process?.signal('SIGHUP');
    await eventually('everything is reached', async () =>
      (await reaches(POD, `http://${literal(SERVER4_OTHER)}/one`)) ? true : undefined,
    );
    await scene.serve('slow', 4);
    const slow = reaches(POD, `http://${literal(SERVER4_OTHER)}/slow`, ['--limit-rate', '300k']);
    await eventually('it runs', async () =>
      (await scene.gate64.json<unknown[]>('sessions', '--dst', SERVER4_OTHER, '--state', 'established')).length > 0
        ? true
        : undefined,
    );
    const { rows } = await scene.gate64.json<{ rows: Record<string, unknown>[] }>('top', '--interval', '1s');
    const busy = rows.find(({ pod, destination }) => pod === POD && destination === SERVER4_OTHER);
    expect(busy).to.include({ sessions: 2 });
    scene.gate64.write(gate64Config('masquerade', { dns: DNS, nat64: NAT64 }));
    scene.gate64.process?.signal('SIGHUP');
    await eventually('new ones are refused', async () =>
      (await reaches(SECOND_POD, `http://${literal(SERVER4_OTHER)}/one`)) ? undefined : true,
    );
    expect(await slow).to.equal(true);
  });
});
