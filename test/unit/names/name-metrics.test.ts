// SPDX-License-Identifier: Apache-2.0
// Metrics by name: off by default, never more names than asked for.

import { expect } from 'chai';
import { exposeNames } from '../../../src/names/name-metrics.ts';
import { UsageTable } from '../../../src/names/usage.ts';
import { Metrics } from '../../../src/telemetry/metrics.ts';

const table = new UsageTable();
const add = (pod: string, name: string | undefined, bytesOut: number) => {
  const when = { firstAt: 0, lastAt: 0 };
  table.add({ pod, name, destination: '192.0.2.1', isGuess: false, sessions: 2, bytesOut, bytesIn: 1, ...when });
};

describe('names/name-metrics', () => {
  const samples = async (limit: number) => {
    const metrics = new Metrics();
    exposeNames(metrics, table, () => limit);
    return (await metrics.text()).split('\n').filter((line) => line.startsWith('gate64_nat64_name_'));
  };
  before(() => {
    add('2001:db8::1', 'a.example', 10);
    add('2001:db8::2', 'a.example', 30);
    add('2001:db8::1', 'b.example', 35);
    add('2001:db8::1', 'c\\".example', 1);
    add('2001:db8::1', undefined, 1000);
  });

  it('sums over pods, those with the most bytes; what has no name is in none', async () => {
    expect(await samples(1)).to.deep.equal([
      'gate64_nat64_name_bytes_total{name="a.example",direction="6to4"} 40',
      'gate64_nat64_name_bytes_total{name="a.example",direction="4to6"} 2',
      'gate64_nat64_name_sessions_total{name="a.example"} 4',
    ]);
    const all = await samples(100);
    expect(all).to.have.length(9);
    expect(all).to.include('gate64_nat64_name_sessions_total{name="c\\\\\\".example"} 2');
  });

  it('has none when it is off', async () => {
    expect(await samples(0)).to.deep.equal([]);
  });
});
