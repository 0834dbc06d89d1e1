// SPDX-License-Identifier: Apache-2.0
// The forms in which manifests/ brings gate64, and what a site changes in each: an overlay or values of its own.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseAllDocuments, parseDocument } from 'yaml';
import { ROOT, type Cluster } from './cluster.ts';

/** Documentation addresses are not global, so the well-known prefix does not lead to them. */
export const PREFIX = '2001:db8:64::/96';
/** 198.51.100.53, asked by pods that have no IPv4. */
const UPSTREAM = '[2001:db8:64::c633:6435]:53';

/** With the pods of it. */
export interface Workload {
  readonly namespace: string;
  readonly workload: string;
  readonly selector: string;
  /** The containers of gate64 in it, if not one of that name. */
  readonly containers?: readonly string[];
}

export interface Form {
  /** Folder of the kustomization, or of the Helm chart, from the root of the repository. */
  readonly folder: string;
  /** Brought by `helm install`. */
  readonly isChart?: boolean;
  /** `nat64.egress`, where it is not what the folder says. */
  readonly egress?: 'direct';
  /** Whether it is only installed, asked, used and taken off: its objects are another form's, which is tried in full. */
  readonly isShort?: boolean;
  /** Behind Services, or beside CoreDNS in its pod. */
  readonly dns: 'service' | 'sidecar';
  /** What answers DNS: workloads as kubectl names them. */
  readonly answering: readonly Workload[];
  /** Namespaces that want the Secret with the token by which names are shared; empty: names are the NAT64's own. */
  readonly sharesNames: readonly string[];
  /** `telemetry.namesFrom`, where it is not what the folder says. */
  readonly namesFrom?: readonly string[];
  /** Whether all that answers DNS is on the node's network, and asks the node's own resolvers. */
  readonly isOnNodes?: boolean;
}

const NAT64 = 'app.kubernetes.io/name=gate64,app.kubernetes.io/component=nat64';
const DNS64 = 'app.kubernetes.io/name=gate64,app.kubernetes.io/component=dns64';

export const DAEMONSET: Workload = { namespace: 'gate64-system', workload: 'daemonset/gate64', selector: NAT64 };

function half(name: 'a' | 'b'): Workload {
  const selector = `${DNS64},gate64/half=${name}`;
  return { namespace: 'gate64-system', workload: `deployment/gate64-dns-${name}`, selector };
}

/** Two Deployments of DNS64, behind a Service each. */
const HALVES: Pick<Form, 'dns' | 'answering' | 'sharesNames'> = {
  dns: 'service',
  answering: [half('a'), half('b')],
  sharesNames: ['gate64-system'],
};

export const FORMS: Readonly<Record<string, Form>> = {
  default: { folder: 'manifests', ...HALVES },
  direct: { folder: 'manifests', egress: 'direct', ...HALVES },
  helm: { folder: 'manifests/helm/gate64', isChart: true, isShort: true, ...HALVES },
  'dns-daemonset': {
    folder: 'manifests/overlays/dns-daemonset',
    dns: 'service',
    answering: [DAEMONSET, half('b')],
    sharesNames: [],
    isOnNodes: true,
  },
  'coredns-sidecar': {
    folder: 'manifests/overlays/coredns-sidecar',
    dns: 'sidecar',
    sharesNames: ['gate64-system', 'kube-system'],
    namesFrom: ['gate64-names.kube-system:9164', 'gate64-names.kube-system:9165'],
    answering: [
      {
        namespace: 'kube-system',
        workload: 'deployment/coredns',
        selector: 'k8s-app=kube-dns',
        containers: ['gate64', 'gate64-b'],
      },
    ],
  },
};

interface ConfigMap {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly data?: Readonly<Record<string, string>>;
}

/** Writes the site's overlay of a form below `into` and gives its folder. */
export async function writeOverlay(
  cluster: Cluster,
  { folder, egress, isOnNodes, namesFrom }: Form,
  into: string,
): Promise<string> {
  const overlay = join(into, 'overlay');
  mkdirSync(overlay, { recursive: true });
  const rendered = await cluster.kubectl(['kustomize', join(ROOT, folder)]);
  const generators = [];
  for (const document of parseAllDocuments(rendered)) {
    const { kind, metadata, data } = document.toJS() as ConfigMap;
    const texts = Object.entries(data ?? {}).filter(([key]) => /^gate64[-\w]*\.yaml$/.test(key));
    if (kind !== 'ConfigMap' || texts.length === 0) continue;
    const files = texts.map(([key, text]) => {
      const config = parseDocument(text);
      config.set('prefix', PREFIX);
      const isDnsAlone = config.getIn(['nat64', 'enabled']) === false;
      if (isDnsAlone && isOnNodes !== true) config.setIn(['dns', 'upstreams'], [UPSTREAM]);
      if (!isDnsAlone && egress !== undefined) config.setIn(['nat64', 'egress'], egress);
      if (!isDnsAlone && namesFrom !== undefined) config.setIn(['telemetry', 'namesFrom'], namesFrom);
      const file = `${metadata.name}-${key}`;
      writeFileSync(join(overlay, file), config.toString());
      return `${key}=${file}`;
    });
    generators.push({ name: metadata.name, namespace: metadata.namespace, behavior: 'replace', files });
  }
  const never = [{ op: 'replace', path: '/spec/template/spec/containers/0/imagePullPolicy', value: 'Never' }];
  const patch = JSON.stringify(never);
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: [relative(overlay, join(ROOT, folder))],
    configMapGenerator: generators,
    generatorOptions: { disableNameSuffixHash: true },
    patches: [
      { target: { kind: 'DaemonSet' }, patch },
      { target: { kind: 'Deployment' }, patch },
    ],
  };
  writeFileSync(join(overlay, 'kustomization.yaml'), JSON.stringify(kustomization));
  return overlay;
}

/** Installs the chart as its documentation says, with a site's values; and takes the release off again. */
export class Release {
  readonly #cluster: Cluster;
  readonly #helm: readonly string[];
  readonly #namespace = join(ROOT, 'manifests/base/namespace.yaml');
  readonly #chart: string;

  /** @param state An empty place of Helm's own goes below it. */
  constructor(cluster: Cluster, { folder }: Form, state: string) {
    this.#cluster = cluster;
    this.#chart = join(ROOT, folder);
    const helm = execFileSync(join(ROOT, 'test/deps/helm.sh'), { encoding: 'utf8' }).trim();
    this.#helm = ['env', `HOME=${join(state, 'helm')}`, helm, '--namespace', DAEMONSET.namespace];
  }

  async install(): Promise<void> {
    await this.#cluster.kubectl(['apply', '-f', this.#namespace]);
    const values = {
      image: { repository: 'gate64', pullPolicy: 'Never' },
      config: { prefix: PREFIX, dns: { upstreams: [UPSTREAM] } },
    };
    const argv = [...this.#helm, 'install', 'gate64', this.#chart, '--values', '-'];
    await this.#cluster.node(argv, { input: JSON.stringify(values) });
  }

  async uninstall(): Promise<void> {
    await this.#cluster.node([...this.#helm, 'uninstall', 'gate64', '--wait']);
    await this.#cluster.kubectl(['delete', '-f', this.#namespace, '--timeout=60s'], { timeoutMs: 70_000 });
  }
}
