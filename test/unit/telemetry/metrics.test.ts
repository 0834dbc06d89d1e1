// SPDX-License-Identifier: Apache-2.0
// The registry: what is registered is in the text, what is read at a scrape is read then.

import { expect } from 'chai';
import { Metrics, type MetricDefinition } from '../../../src/telemetry/metrics.ts';
import { SERVICE_METRICS, ServiceMetrics } from '../../../src/telemetry/service-metrics.ts';
import { DurationTally } from '../../../src/telemetry/duration-tally.ts';
import { Tally } from '../../../src/telemetry/tally.ts';
import { samples } from './samples.ts';

const SEEN = { name: 'x_seen_total', type: 'counter', help: 'What was seen.', labels: ['from', 'kind'] } as const;
const DEPTH = { name: 'x_depth', type: 'gauge', help: 'How deep it is.', labels: ['at'] } as const;
const UP = { name: 'x_up', type: 'gauge', help: 'Whether it is there.', labels: [] } as const;
const TIME = { name: 'x_seconds', type: 'histogram', help: 'How long it took.', labels: [], buckets: [1, 2] } as const;

describe('metrics', () => {
  let metrics: Metrics;
  let errors: unknown[];
  beforeEach(() => {
    errors = [];
    metrics = new Metrics({ onSourceError: (error) => errors.push(error) });
  });

  it('has what is registered, with help and type, Node’s own beside it', async () => {
    metrics.counter(SEEN).inc({ from: 'here', kind: 'a' }, 2);
    metrics.gauge(UP).set(1);
    metrics.histogram(TIME).observe(1.5);
    const text = await metrics.text();
    for (const { name, help, type } of [SEEN, UP, TIME] satisfies MetricDefinition[]) {
      expect(text).to.include(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
    }
    expect([...(await samples(metrics))]).to.deep.equal([
      ['x_seen_total{from="here",kind="a"}', 2],
      ['x_up', 1],
      ['x_seconds_bucket{le="1"}', 0],
      ['x_seconds_bucket{le="2"}', 1],
      ['x_seconds_bucket{le="+Inf"}', 1],
      ['x_seconds_sum', 1.5],
      ['x_seconds_count', 1],
    ]);
    expect(text)
      .to.match(/^process_resident_memory_bytes \d/m)
      .and.match(/^nodejs_eventloop_lag_seconds /m);
  });

  it('a name is registered once, and two registries do not meet', async () => {
    metrics.gauge(UP).set(1);
    expect(() => metrics.gauge(UP)).to.throw(/x_up.*already/);
    const other = new Metrics();
    other.gauge(UP);
    expect((await samples(other)).get('x_up')).to.equal(0);
  });

  it('reads at every scrape, once each, and forgets what is gone', async () => {
    const depth = metrics.gauge(DEPTH);
    const seen = metrics.counter(SEEN);
    let scrapes = 0;
    metrics.onScrape({
      into: [depth, seen],
      read: () => {
        depth.set({ at: `${++scrapes}` }, scrapes);
        seen.inc({ from: 'here', kind: 'a' }, 10);
      },
    });
    await metrics.text();
    const first = metrics.text();
    expect([...(await samples(metrics))]).to.deep.equal([
      ['x_depth{at="3"}', 3],
      ['x_seen_total{from="here",kind="a"}', 10],
    ]);
    expect(await first, 'one that runs at the same time')
      .to.include('x_depth{at="2"} 2\n')
      .and.not.include('at="3"');
  });

  it('what ends a reading empties its metrics; their names stay', async () => {
    const depth = metrics.gauge(DEPTH);
    const up = metrics.gauge(UP);
    const read = () => {
      depth.set({ at: 'home' }, 3);
      up.set(1);
    };
    const end = metrics.onScrape({ into: [depth, up], read });
    expect((await samples(metrics)).size).to.equal(2);
    end();
    const endOther = metrics.onScrape({ into: [depth, up], read });
    end();
    expect((await samples(metrics)).size, 'ended twice, it leaves others alone').to.equal(2);
    endOther();
    expect([...(await samples(metrics))]).to.deep.equal([['x_up', 0]]);
    expect(await metrics.text()).to.include('# HELP x_depth');
  });

  it('a reading that throws costs its own metrics alone, also when it got half way, and is told of', async () => {
    const depth = metrics.gauge(DEPTH);
    const up = metrics.gauge(UP);
    const seen = metrics.counter(SEEN);
    let broken = true;
    metrics.onScrape({
      into: [depth, seen],
      read: () => {
        depth.set({ at: 'home' }, 3);
        if (broken) throw new Error('EPERM');
      },
    });
    metrics.onScrape({ into: [up], read: () => up.set(1) });
    expect([...(await samples(metrics))]).to.deep.equal([['x_up', 1]]);
    expect(errors.map(String)).to.deep.equal(['Error: x_depth, x_seen_total could not be read']);
    expect((errors[0] as Error).cause)
      .to.be.instanceOf(Error)
      .and.include({ message: 'EPERM' });
    broken = false;
    expect((await samples(metrics)).get('x_depth{at="home"}'), 'tried again at the next').to.equal(3);
  });

  it('a tally counts between scrapes, and goes on counting', async () => {
    const tally = new Tally(metrics, SEEN);
    tally.add('here\na');
    tally.add('here\na');
    tally.add('there\n');
    expect([...(await samples(metrics))]).to.deep.equal([
      ['x_seen_total{from="here",kind="a"}', 2],
      ['x_seen_total{from="there",kind=""}', 1],
    ]);
    tally.cell('here\na').count++;
    expect((await samples(metrics)).get('x_seen_total{from="here",kind="a"}')).to.equal(3);
    tally.add('here\na', 5);
    tally.add('nowhere\na', 0);
    const values = await samples(metrics);
    expect(values.get('x_seen_total{from="here",kind="a"}')).to.equal(8);
    expect(values.has('x_seen_total{from="nowhere",kind="a"}'), 'nothing of nothing').to.equal(false);
  });

  it('a tally of durations reads as a histogram: buckets that add up, count and sum', async () => {
    const tally = new DurationTally(metrics, {
      name: 'x_s',
      type: 'histogram',
      help: 'X.',
      labels: [],
      buckets: [1, 2],
    });
    for (const value of [0.5, 1, 1.5, 8]) tally.observe(value);
    const expected = [
      ['x_s_bucket{le="1"}', 2],
      ['x_s_bucket{le="2"}', 3],
      ['x_s_bucket{le="+Inf"}', 4],
      ['x_s_sum', 11],
      ['x_s_count', 4],
    ];
    expect([...(await samples(metrics))]).to.deep.equal(expected);
    expect([...(await samples(metrics))], 'read again').to.deep.equal(expected);
    expect(await metrics.text()).to.include('# HELP x_s X.\n# TYPE x_s histogram\n');
    tally.merge(Float64Array.of(1, 0, 2), 30);
    expect([...(await samples(metrics))], 'with what was counted elsewhere').to.deep.equal([
      ['x_s_bucket{le="1"}', 3],
      ['x_s_bucket{le="2"}', 4],
      ['x_s_bucket{le="+Inf"}', 7],
      ['x_s_sum', 41],
      ['x_s_count', 7],
    ]);
  });

  it('a summed histogram has a series by label values, of values and of what was counted elsewhere', async () => {
    const histogram = metrics.summed({
      name: 'x_s',
      type: 'histogram',
      help: 'X.',
      labels: ['to'],
      buckets: [1, 2],
    });
    expect([...(await samples(metrics))]).to.deep.equal([]);
    histogram.add('a', 0.5);
    histogram.merge('a', { counts: Float64Array.of(0, 1, 1), sum: 10 });
    histogram.merge('b', { counts: Float64Array.of(1, 0, 0), sum: 1 });
    expect([...(await samples(metrics))]).to.deep.equal([
      ['x_s_bucket{le="1",to="a"}', 1],
      ['x_s_bucket{le="2",to="a"}', 2],
      ['x_s_bucket{le="+Inf",to="a"}', 3],
      ['x_s_sum{to="a"}', 10.5],
      ['x_s_count{to="a"}', 3],
      ['x_s_bucket{le="1",to="b"}', 1],
      ['x_s_bucket{le="2",to="b"}', 1],
      ['x_s_bucket{le="+Inf",to="b"}', 1],
      ['x_s_sum{to="b"}', 1],
      ['x_s_count{to="b"}', 1],
    ]);
  });
});

describe('metrics of the service', () => {
  it('names version and Node, and tells a refused reload from an accepted one', async () => {
    const metrics = new Metrics();
    let flows: { now: number; max: number } | undefined;
    const service = new ServiceMetrics(metrics, '1.2.3', () => flows);
    service.configReloaded(true, 1_000_000);
    service.configReloaded(false, 2_000_000);
    expect([...(await samples(metrics))]).to.deep.equal([
      [SERVICE_METRICS.reloadSuccessful.name, 0],
      [SERVICE_METRICS.reloadedAt.name, 1000],
      ['gate64_node_tracked_flows', 0],
      ['gate64_node_tracked_flows_max', 0],
      [`gate64_build_info{version="1.2.3",nodejs="${process.version}"}`, 1],
    ]);
    flows = { now: 7, max: 262_144 };
    const tracked = await samples(metrics);
    expect(tracked.get('gate64_node_tracked_flows')).to.equal(7);
    expect(tracked.get('gate64_node_tracked_flows_max')).to.equal(262_144);
  });
});
