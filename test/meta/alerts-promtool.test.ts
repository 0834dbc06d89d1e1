// SPDX-License-Identifier: Apache-2.0
// Each alert fires when it should and is silent when it should be, by Prometheus's own tool.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import { run } from '../helpers/processes.ts';
import { METRICS } from './lists.ts';
import { read } from './repository.ts';

interface Rule {
  alert: string;
  expr: string;
  for?: string;
  labels: { severity: string };
  annotations: Record<'summary' | 'description' | 'action', string>;
}
/** Samples a minute by series, in promtool's notation: "0+10x30" starts at 0 and grows by 10, thirty times. */
type Series = Readonly<Record<string, string>>;
interface Case {
  /** Labels of the alert beside those of the target. */
  labels?: Record<string, string>;
  /** As the texts show it, where they do. */
  value?: string;
  fires: Series;
  silent: Series;
}

const TARGET = {
  job: 'gate64-system/gate64',
  namespace: 'gate64-system',
  pod: 'gate64-x',
  node: 'node-1',
  instance: 'i',
};
/** By then each has lasted. */
const AT = '25m';
const FAILURES = 'gate64_nat64_allocation_failures_total';

const failing = (reason: string): Case => ({
  labels: { reason },
  fires: { [`${FAILURES}{reason="${reason}"}`]: '0+1x30' },
  // It was refused once, twenty minutes ago.
  silent: { [`${FAILURES}{reason="${reason}"}`]: '0 0 0 5x30' },
});

const CASES: Readonly<Record<string, Case>> = {
  Gate64Down: { fires: { up: '0x30' }, silent: { up: '1x30' } },
  Gate64Absent: { fires: {}, silent: { gate64_build_info: '1x30' } },
  Gate64ConfigRefused: {
    fires: { gate64_config_last_reload_successful: '1x10 0x20' },
    silent: { gate64_config_last_reload_successful: '0x10 1x20' },
  },
  Gate64NotReady: { fires: { gate64_nat64_ready: '1x10 0x20' }, silent: { gate64_nat64_ready: '0x10 1x20' } },
  Gate64PoolExhausted: failing('pool_exhausted'),
  Gate64PodQuota: failing('pod_quota'),
  Gate64SessionsFull: failing('sessions_full'),
  Gate64PoolNearlyUsed: {
    value: '90%',
    fires: {
      'gate64_nat64_blocks{address="192.0.2.1",state="leased"}': '6x30',
      'gate64_nat64_blocks{address="192.0.2.2",state="leased"}': '2x30',
      'gate64_nat64_blocks{address="192.0.2.2",state="resting"}': '1x30',
      'gate64_nat64_blocks{address="192.0.2.2",state="offered"}': '1x30',
      'gate64_nat64_blocks{address="192.0.2.3",state="retired"}': '90x30',
    },
    // One address is all used, the other is not.
    silent: {
      'gate64_nat64_blocks{address="192.0.2.1",state="leased"}': '6x30',
      'gate64_nat64_blocks{address="192.0.2.2",state="offered"}': '4x30',
    },
  },
  Gate64SessionTableNearlyFull: {
    labels: { map: 'flow6' },
    value: '90%',
    fires: { 'gate64_nat64_map_entries{map="flow6"}': '90x30', 'gate64_nat64_map_max_entries{map="flow6"}': '100x30' },
    silent: {
      'gate64_nat64_map_entries{map="flow6"}': '50x30',
      'gate64_nat64_map_max_entries{map="flow6"}': '100x30',
      'gate64_nat64_map_entries{map="pods"}': '90x30',
      'gate64_nat64_map_max_entries{map="pods"}': '100x30',
    },
  },
  Gate64TrackingNearlyFull: {
    value: '90%',
    fires: { gate64_node_tracked_flows: '90x30', gate64_node_tracked_flows_max: '100x30' },
    silent: { gate64_node_tracked_flows: '50x30', gate64_node_tracked_flows_max: '100x30' },
  },
  Gate64IcmpRate: {
    value: '1.2k',
    fires: {
      'gate64_nat64_packets_total{direction="6to4",protocol="icmp"}': '0+30000x30',
      'gate64_nat64_packets_total{direction="4to6",protocol="icmp"}': '0+30000x30',
      'gate64_nat64_drops_total{direction="4to6",reason="icmp_error_unknown"}': '0+12000x30',
      gate64_nat64_ready: '1x30',
    },
    // Other protocols may be as many as they like; there is no drop.
    silent: {
      'gate64_nat64_packets_total{direction="6to4",protocol="icmp"}': '0+30000x30',
      'gate64_nat64_packets_total{direction="6to4",protocol="tcp"}': '0+900000x30',
      gate64_nat64_ready: '1x30',
    },
  },
  Gate64PodsUnpaired: {
    value: '2',
    fires: { gate64_nat64_pods_unpaired: '2x30' },
    silent: { gate64_nat64_pods_unpaired: '0x20 2x10' },
  },
  Gate64UpstreamFailing: {
    labels: { to: '[2001:db8::53]:53' },
    value: '75%',
    fires: {
      'gate64_dns_upstream_requests_total{to="[2001:db8::53]:53",rcode="NOERROR"}': '0+25x30',
      'gate64_dns_upstream_requests_total{to="[2001:db8::53]:53",rcode="timeout"}': '0+50x30',
      'gate64_dns_upstream_requests_total{to="[2001:db8::53]:53",rcode="SERVFAIL"}': '0+25x30',
      'gate64_dns_upstream_requests_total{to="[2001:db8::54]:53",rcode="NOERROR"}': '0+900x30',
    },
    silent: {
      'gate64_dns_upstream_requests_total{to="[2001:db8::53]:53",rcode="NXDOMAIN"}': '0+90x30',
      'gate64_dns_upstream_requests_total{to="[2001:db8::53]:53",rcode="timeout"}': '0+10x30',
    },
  },
  Gate64DnsFailing: {
    value: '20%',
    fires: {
      'gate64_dns_responses_total{rcode="SERVFAIL"}': '0+20x30',
      'gate64_dns_responses_total{rcode="NOERROR"}': '0+80x30',
    },
    silent: {
      'gate64_dns_responses_total{rcode="SERVFAIL"}': '0+1x30',
      'gate64_dns_responses_total{rcode="NXDOMAIN"}': '0+99x30',
    },
  },
  Gate64DnsClientsRefused: {
    fires: {
      'gate64_dns_clients_refused_total{proto="udp"}': '0+60x30',
      'gate64_dns_clients_refused_total{proto="tcp"}': '0+6x30',
    },
    silent: { 'gate64_dns_clients_refused_total{proto="udp"}': '0+1x30' },
  },
};

const { spec } = parse(read('manifests/components/alerts/prometheusrule.yaml')) as {
  spec: { groups: { name: string; rules: Rule[] }[] };
};
const rules = spec.groups.flatMap((group) => group.rules);

function withTarget(series: Series): { series: string; values: string }[] {
  const target = Object.entries(TARGET)
    .map(([label, value]) => `${label}="${value}"`)
    .join(',');
  return Object.entries(series).map(([name, values]) => {
    const [metric, labels] = name.replace(/\}$/, '').split('{');
    return { series: `${metric}{${labels === undefined ? '' : `${labels},`}${target}}`, values };
  });
}

/** The texts as Prometheus fills them in. */
function filled(rule: Rule, labels: Readonly<Record<string, string>>, value: string | undefined) {
  const fill = (text: string) =>
    text
      .replaceAll('{{ or $labels.node $labels.instance }}', TARGET.node)
      .replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_, label: string) => labels[label] ?? '')
      .replaceAll(/\{\{ \$value (?:\| \w+ )?\}\}/g, () => value ?? expect.fail(`${rule.alert} shows its value`));
  return Object.fromEntries(Object.entries(rule.annotations).map(([key, text]) => [key, fill(text)]));
}

function promtoolTests(rule: Rule, { labels = {}, value, fires, silent }: Case): unknown {
  const all: Record<string, string> = rule.alert === 'Gate64Absent' ? {} : { ...TARGET, ...labels };
  const alert = { exp_labels: { ...all, ...rule.labels }, exp_annotations: filled(rule, all, value) };
  const test = (series: Series, expected: unknown[]) => ({
    interval: '1m',
    input_series: withTarget(series),
    alert_rule_test: [{ eval_time: AT, alertname: rule.alert, exp_alerts: expected }],
  });
  return {
    rule_files: ['rules.json'],
    evaluation_interval: '1m',
    tests: [test(fires, [alert]), test(silent, [])],
  };
}

describe('alerts', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'gate64-alerts-'));
    // JSON is YAML.
    writeFileSync(join(directory, 'rules.json'), JSON.stringify(spec));
  });
  after(() => rmSync(directory, { recursive: true }));

  it('are rules that promtool accepts', async () => {
    const { stdout } = await run(['promtool', 'check', 'rules', join(directory, 'rules.json')]);
    expect(stdout).to.include(`SUCCESS: ${rules.length} rules found`);
  });

  it('each say what is wrong, what it means and what to do', () => {
    expect(rules.map(({ alert }) => alert)).to.have.members(Object.keys(CASES));
    for (const { alert, annotations, labels } of rules) {
      expect(annotations, alert).to.have.all.keys('summary', 'description', 'action');
      expect(labels.severity, alert).to.match(/^(?:critical|warning|info)$/);
      if (alert !== 'Gate64Absent') expect(annotations.summary).to.include('{{ or $labels.node $labels.instance }}');
    }
  });

  it('ask for metrics that are there', () => {
    const known = new Set(METRICS.map(({ name }) => name));
    for (const { alert, expr } of rules) {
      const asked = expr.match(/\bgate64_\w+/g) ?? [];
      expect(
        asked.filter((name) => !known.has(name)),
        alert,
      ).to.deep.equal([]);
    }
  });

  for (const rule of rules) {
    it(`${rule.alert} fires and is silent in time`, async () => {
      const file = join(directory, `${rule.alert}.json`);
      const known = CASES[rule.alert] ?? expect.fail(`no case for ${rule.alert}`);
      writeFileSync(file, JSON.stringify(promtoolTests(rule, known)));
      const { code, stdout, stderr } = await run(['promtool', 'test', 'rules', file], { accept: 'any' });
      expect(code, stdout + stderr).to.equal(0);
    });
  }
});
