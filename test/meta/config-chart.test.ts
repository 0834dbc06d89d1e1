// SPDX-License-Identifier: Apache-2.0
// The Helm chart makes what the kustomizations make, and refuses values that it does not know.

import { expect } from 'chai';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/parse.ts';
import { valueAt } from '../../src/config/tree.ts';
import { CHART, Rendered, chartText, list, renderText } from './manifests.ts';
import { read } from './repository.ts';

const MIB = 2 ** 20;
/** Each form of `dns.form` with the kustomization that is the same. */
const FORMS = {
  deployment: 'manifests',
  daemonset: 'manifests/overlays/dns-daemonset',
} as const;
/** Switches with what they add. */
const MONITORING = {
  podMonitor: ['PodMonitor', 'gate64'],
  prometheusRule: ['PrometheusRule', 'gate64'],
  dashboard: ['ConfigMap', 'gate64-dashboard'],
} as const;
const ALL_MONITORING = Object.fromEntries(Object.keys(MONITORING).map((value) => [value, { enabled: true }]));
/** What Helm wants of its own objects. */
const HELM_LABELS = new Set(['app.kubernetes.io/managed-by', 'helm.sh/chart']);

type Labels = Record<string, string>;

function chart(values: unknown = {}): Rendered {
  return new Rendered(chartText(values));
}

function nameOf(object: unknown): string {
  return `${String(valueAt(object, ['kind']))} ${String(valueAt(object, ['metadata', 'name']))}`;
}

/** By name; without Helm's labels, and configurations as gate64 understands them, whatever is written around. */
function comparable(objects: readonly unknown[]): Record<string, unknown> {
  const entries = objects.map((object) => {
    const copy = structuredClone(object) as { metadata: { labels?: Labels }; data?: Labels };
    const labels = Object.entries(copy.metadata.labels ?? {}).filter(([label]) => !HELM_LABELS.has(label));
    copy.metadata.labels = Object.fromEntries(labels);
    const text = copy.data?.['gate64.yaml'];
    if (text === undefined) return [nameOf(object), copy];
    return [nameOf(object), { ...copy, data: parseConfig(text, nameOf(object)) }];
  });
  return Object.fromEntries(entries) as Record<string, unknown>;
}

function config(rendered: Rendered, name: string) {
  return parseConfig(String(valueAt(rendered.object('ConfigMap', name), ['data', 'gate64.yaml'])), name);
}

describe('Helm chart', function () {
  this.timeout(60_000);

  it('is of the version of the package', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };
    const { version: own, appVersion } = parse(read(`${CHART}/Chart.yaml`)) as Labels;
    expect([own, appVersion]).to.deep.equal([version, version]);
  });

  for (const [form, folder] of Object.entries(FORMS)) {
    it(`with dns.form ${form} makes the objects of ${folder}, all but the Namespace`, () => {
      const wanted = new Rendered(renderText(folder)).objects.filter(
        (object) => valueAt(object, ['kind']) !== 'Namespace',
      );
      expect(comparable(chart({ dns: { form } }).objects)).to.deep.equal(comparable(wanted));
    });
  }

  it('says of every object that it is Helm’s', () => {
    for (const object of chart(ALL_MONITORING).objects) {
      const labels = valueAt(object, ['metadata', 'labels']) as Labels;
      expect(labels, nameOf(object)).to.include({ 'app.kubernetes.io/managed-by': 'Helm' });
      expect(labels['helm.sh/chart'], nameOf(object)).to.match(/^gate64-\d/);
    }
  });

  it('with dns.form none leaves DNS64 to others', () => {
    const rendered = chart({ dns: { form: 'none' } });
    expect(rendered.names.map((name) => name.split(' ')[0])).to.deep.equal([
      'ConfigMap',
      'DaemonSet',
      'ServiceAccount',
    ]);
    expect(config(rendered, 'gate64').dns.enabled).to.equal(false);
  });

  it('gives both halves the same prefix and the same refusals', () => {
    const rendered = chart({
      config: {
        prefix: '2001:db8:64::/96',
        nat64: { deny: ['198.51.100.0/24'], allowNonGlobalIpv4: ['192.0.2.0/24'], maxSessions: 4_194_304 },
      },
    });
    const [nat64, dns] = [config(rendered, 'gate64'), config(rendered, 'gate64-dns')];
    expect(dns.prefixes).to.deep.equal(nat64.prefixes);
    expect(dns.nat64.deny).to.deep.equal(nat64.nat64.deny).and.to.have.length(1);
    expect(dns.nat64.allowNonGlobalIpv4).to.deep.equal(nat64.nat64.allowNonGlobalIpv4).and.to.have.length(1);
    expect([nat64.nat64.enabled, nat64.dns.enabled, nat64.nat64.maxSessions]).to.deep.equal([true, false, 4_194_304]);
    expect([dns.nat64.enabled, dns.dns.enabled]).to.deep.equal([false, true]);
  });

  it('grants memory by nat64.maxSessions, unless a limit is given', () => {
    const limit = (values: object) => chart(values).workload('gate64').container().memoryLimit;
    const sessions = 4_194_304;
    const values = { config: { nat64: { maxSessions: sessions } } };
    expect(limit(values)).to.be.within(256 * MIB + sessions * 720, 768 * MIB + sessions * 720);
    expect(limit({ ...values, dns: { form: 'daemonset' } })).to.equal(limit(values) + 512 * MIB);
    expect(limit({ ...values, resources: { nat64: { limits: { memory: '3Gi' } } } })).to.equal(3 * 2 ** 30);
  });

  it('puts image, secrets, replicas, tolerations and ports where they belong', () => {
    const rendered = chart({
      image: { repository: 'registry.example/gate64', tag: '9', pullPolicy: 'Always' },
      imagePullSecrets: [{ name: 'registry' }],
      tolerations: { nat64: [{ key: 'a', operator: 'Exists' }], dns: [] },
      dns: { replicas: 3 },
      config: { dns: { listen: ['[::]:5353'] }, http: { listen: '[::]:9999' } },
    });
    for (const workload of rendered.workloads) {
      expect(workload.container().get('image'), workload.name).to.equal('registry.example/gate64:9');
      expect(workload.container().get('imagePullPolicy'), workload.name).to.equal('Always');
      expect(workload.pod('imagePullSecrets'), workload.name).to.deep.equal([{ name: 'registry' }]);
      expect(workload.container().ports.get('metrics'), workload.name).to.equal(9999);
    }
    const [nat64, dns] = [rendered.workload('gate64'), rendered.workload('gate64-dns-a')];
    expect(nat64.pod('tolerations')).to.deep.equal([{ key: 'a', operator: 'Exists' }]);
    expect(dns.pod('tolerations')).to.equal(undefined);
    expect(valueAt(dns.object, ['spec', 'replicas'])).to.equal(3);
    expect(['dns', 'dns-tcp'].map((port) => dns.container().ports.get(port))).to.deep.equal([5353, 5353]);
  });

  for (const [value, [kind, name]] of Object.entries(MONITORING)) {
    it(`makes the ${kind} ${name} of the components when ${value}.enabled asks for it`, () => {
      const monitored = new Rendered(renderText('test/meta/fixtures/monitored'));
      const own = chart({ [value]: { enabled: true } });
      const wanted = comparable([monitored.object(kind, name)]);
      expect(comparable([own.object(kind, name)])).to.deep.equal(wanted);
      expect(chart().object(kind, name)).to.equal(undefined);
    });
  }

  it('with events.enabled makes the objects of components/events, a token for the DaemonSet among them', () => {
    const wanted = new Rendered(renderText('test/meta/fixtures/events')).objects.filter(
      (object) => valueAt(object, ['kind']) !== 'Namespace',
    );
    expect(comparable(chart({ events: { enabled: true } }).objects)).to.deep.equal(comparable(wanted));
  });

  const refused: [string, object][] = [
    ['an unknown value', { dnsForm: 'daemonset' }],
    ['an unknown form', { dns: { form: 'sidecar' } }],
    ['a misspelt resource', { resources: { nat64: { limit: { memory: '1Gi' } } } }],
    ['halves that are switched in the configuration', { config: { dns: { enabled: false } } }],
    ['a listener without a port', { config: { http: { listen: '::' } } }],
  ];
  for (const [what, values] of refused) {
    it(`refuses ${what}`, () => {
      expect(() => chartText(values)).to.throw(/values don't meet the specifications of the schema/);
    });
  }

  it('has a schema entry for every value', () => {
    const properties = list(Object.keys(parse(read(`${CHART}/values.yaml`)) as object));
    const schema = JSON.parse(read(`${CHART}/values.schema.json`)) as { properties: object };
    expect(Object.keys(schema.properties).filter((key) => key !== 'global')).to.have.members(properties);
  });
});
