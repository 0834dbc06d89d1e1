// SPDX-License-Identifier: Apache-2.0
// Every query of the Grafana dashboard returns data from a real Prometheus that scrapes a gate64 with traffic.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { readDashboard, substituted } from '../helpers/dashboard.ts';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { ROUTER6, Topology } from '../helpers/topology.ts';

const PROMETHEUS = '127.0.0.1:9090';
/** Somebody who may ask but is no neighbour, so that dns.maxRate holds for it. */
const STRANGER = '2001:db8:9::1';
/** And somebody who may not. */
const REFUSED = '2001:db8:a::1';
const NODE = 'node-1';
/** What Grafana puts in: the interval is some scrapes long. */
const VARIABLES = { node: '.*', __rate_interval: '10s' };

/** One look of each kind: names, connections, pings, and what is refused. Ends well whatever is refused. */
const TRAFFIC = {
  pod: `
    for name in v4only other v6only both none; do dig +time=1 +tries=1 AAAA $name.example >/dev/null || true; done
    curl -sS --fail -o /dev/null http://v4only.example/one
    ping -qn -c 2 -i 0.2 v4only.example >/dev/null
    echo hi | socat -T 0.2 - UDP6:v4only.example:7007 >/dev/null
    ping -qn -c 1 -W 1 64:ff9b::7f00:1 >/dev/null || true
  `,
  router: `
    for n in 1 2 3 4 5; do
      dig +time=1 +tries=1 +ignore -b ${STRANGER} -p 5364 @2001:db8:2::1 AAAA v4only.example >/dev/null || true
    done
    dig +time=1 +tries=1 -b ${REFUSED} -p 5364 @2001:db8:2::1 AAAA v4only.example >/dev/null || true
  `,
} as const;

describe('dashboard', function () {
  this.timeout(90_000);
  let scene: Scene;

  const api = async (path: string, parameters: Readonly<Record<string, string>>): Promise<unknown> => {
    const fields = Object.entries(parameters).flatMap(([key, value]) => ['--data-urlencode', `${key}=${value}`]);
    const url = `http://${PROMETHEUS}/api/v1/${path}`;
    const { stdout } = await scene.topology.run('node', ['curl', '-sS', '-G', '--max-time', '5', ...fields, url]);
    const { status, data, error } = JSON.parse(stdout) as { status: string; data: unknown; error?: string };
    if (status !== 'success') throw new Error(`${JSON.stringify(parameters)}: ${error}`);
    return data;
  };
  /** Values of the series that a query gives; NaN, which Grafana shows as nothing, is none. */
  const ask = async (expr: string): Promise<number[]> => {
    const { result } = (await api('query', { query: expr })) as { result: { value: [number, string] }[] };
    return result.map(({ value }) => Number(value[1])).filter((value) => !Number.isNaN(value));
  };

  before(async () => {
    const topology = await Topology.create();
    await topology.sh('node', `ip -6 route add default via ${ROUTER6}`);
    for (const address of [STRANGER, REFUSED])
      await topology.sh('router', `ip -6 addr add ${address}/128 dev lo nodad`);
    scene = await Scene.create({
      egress: 'masquerade',
      topology,
      config: {
        dns: {
          listen: ['127.0.0.1:5364', '[2001:db8:2::1]:5364'],
          allowClients: ['local', `${STRANGER}/128`],
          maxRate: 1,
        },
      },
    });
    const directory = join(topology.directory, 'prometheus');
    mkdirSync(directory);
    // JSON is YAML.
    const job = {
      job_name: 'gate64-system/gate64',
      scrape_interval: '1s',
      static_configs: [{ targets: ['127.0.0.1:9164'], labels: { node: NODE, pod: 'gate64-x' } }],
    };
    writeFileSync(join(directory, 'prometheus.yml'), JSON.stringify({ scrape_configs: [job] }));
    topology.start('node', [
      'prometheus',
      `--config.file=${directory}/prometheus.yml`,
      `--storage.tsdb.path=${directory}/data`,
      `--web.listen-address=${PROMETHEUS}`,
    ]);
    await eventually('Prometheus scrapes', async () => ((await ask('up == 1')).length > 0 ? true : undefined), 20_000);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  it('returns data for every query', async () => {
    const queries = readDashboard().panels.flatMap(({ title, targets }) =>
      (targets ?? []).map(({ expr }) => ({ title, expr: substituted(expr, VARIABLES) })),
    );
    expect(queries.length).to.be.greaterThan(30);
    let empty = queries;
    const end = performance.now() + 60_000;
    while (empty.length > 0 && performance.now() < end) {
      for (const [namespace, script] of Object.entries(TRAFFIC)) {
        await scene.topology.sh(namespace as keyof typeof TRAFFIC, script);
      }
      const answers = await Promise.all(queries.map(async (query) => ({ query, values: await ask(query.expr) })));
      empty = answers.filter(({ values }) => values.length === 0).map(({ query }) => query);
    }
    expect(empty).to.deep.equal([]);
  });

  it('shows what is there: the node, its sessions, its traffic', async () => {
    const panel = (title: string) => {
      const found = readDashboard().panels.find((entry) => entry.title === title)?.targets?.[0]?.expr;
      return substituted(found ?? expect.fail(`no panel ${title}`), VARIABLES);
    };
    expect(await ask(panel('Nodes ready'))).to.deep.equal([1]);
    expect(await ask(panel('Nodes not ready'))).to.deep.equal([0]);
    expect(await ask(panel('Configurations refused'))).to.deep.equal([0]);
    expect((await ask(panel('Sessions')))[0]).to.be.greaterThan(2);
    expect(Math.max(...(await ask(panel('Traffic'))))).to.be.greaterThan(1000);
  });

  it('offers the nodes, and shows nothing of others', async () => {
    const { definition, allValue } = readDashboard().templating.list.find(({ name }) => name === 'node') ?? {};
    const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(definition ?? '') ?? [];
    expect(await api(`label/${label}/values`, { 'match[]': metric ?? '' })).to.deep.equal([NODE]);
    expect(allValue).to.equal(VARIABLES.node);
    for (const { targets } of readDashboard().panels) {
      for (const { expr } of targets ?? []) {
        expect(await ask(substituted(expr, { ...VARIABLES, node: 'another' })), expr).to.deep.equal([]);
      }
    }
  });
});
