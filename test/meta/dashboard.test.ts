// SPDX-License-Identifier: Apache-2.0
// The Grafana dashboard is well made: it shows every metric, says what each panel means, and no panel covers another.
// test/netns/dashboard.test.ts asks its queries.

import { expect } from 'chai';
import { readDashboard } from '../helpers/dashboard.ts';
import { METRICS } from './lists.ts';

/** What other dashboards are for, and what is there by request alone (telemetry.namesInMetrics). */
const NOT_SHOWN = [
  'coredns_dns64_requests_translated_total',
  'gate64_nat64_name_bytes_total',
  'gate64_nat64_name_sessions_total',
];

describe('dashboard', () => {
  const { panels, templating } = readDashboard();
  const shown = panels.filter(({ type }) => type !== 'row');
  const queries = shown.flatMap(({ targets }) => targets ?? []);

  it('shows every metric of gate64, and none that is not there', () => {
    const asked = new Set(
      queries.flatMap(({ expr }) => expr.match(/\bgate64_\w+/g) ?? []).map((name) => name.replace(/_bucket$/, '')),
    );
    const known = METRICS.map(({ name }) => name).filter((name) => !NOT_SHOWN.includes(name));
    expect([...asked].toSorted()).to.deep.equal(known.toSorted());
  });

  it('says of every panel what it shows', () => {
    for (const { title, description, targets } of shown) {
      expect(description ?? '', title).to.match(/\.$/);
      expect(targets, title).to.not.have.length(0);
    }
    expect(new Set(panels.map(({ id }) => id)).size).to.equal(panels.length);
  });

  it('asks the chosen data source about the chosen nodes', () => {
    expect(templating.list.map(({ name }) => name)).to.deep.equal(['datasource', 'node']);
    for (const { expr, datasource } of queries) {
      expect(datasource.uid).to.equal('${datasource}');
      expect(expr).to.include('node=~"$node"');
    }
  });

  it('has no panel over another, and none beyond the edge', () => {
    const cells = new Set<string>();
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w, title).to.be.at.most(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(cells.has(`${x} ${y}`), `${title} at ${x} ${y}`).to.equal(false);
          cells.add(`${x} ${y}`);
        }
      }
    }
  });
});
