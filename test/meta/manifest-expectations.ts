// SPDX-License-Identifier: Apache-2.0
// What tests of the manifests want of more than one kind of pod.

import { expect } from 'chai';
import type { Config } from '../../src/config/config.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { valueAt } from '../../src/config/tree.ts';
import { Rendered, list, renderText, type Container, type Workload } from './manifests.ts';
import { read } from './repository.ts';

export const MIB = 2 ** 20;
/** Of a DNS64 that has all it may hold. */
export const DNS_MIB = 512;
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
};

/** Of the package. */
export const { version } = JSON.parse(read('package.json')) as { version: string };

const rendered = new Map<string, Rendered>();

/** The objects of a kustomization, rendered once. */
export function form(folder: string): Rendered {
  const found = rendered.get(folder) ?? new Rendered(renderText(folder));
  rendered.set(folder, found);
  return found;
}

/** The configuration that the container reads, of the ConfigMap that is mounted for it. Throws where there is none. */
export function configOf(objects: Rendered, workload: Workload, container: Container, file = 'gate64.yaml'): Config {
  const mount = list(container.get('volumeMounts')).find((entry) => valueAt(entry, ['mountPath']) === '/etc/gate64');
  const volume = list(workload.pod('volumes')).find((entry) => valueAt(entry, ['name']) === valueAt(mount, ['name']));
  const name = String(valueAt(volume, ['configMap', 'name']));
  const map = objects.object('ConfigMap', name);
  expect(valueAt(map, ['metadata', 'namespace']), name).to.equal(workload.namespace);
  return parseConfig(String(valueAt(map, ['data', file])), name);
}

export function expectProbes(container: Container, port: string): void {
  const probes: [string, string][] = [
    ['startupProbe', '/healthz'],
    ['livenessProbe', '/healthz'],
  ];
  for (const [probe, path] of probes) expect(container.get(probe, 'httpGet')).to.deep.equal({ path, port });
  const ready = container.get('readinessProbe');
  if (ready !== undefined) expect(valueAt(ready, ['httpGet'])).to.deep.equal({ path: '/readyz', port });
}

export function expectRestricted(workload: Workload, container: Container): void {
  const pod = workload.pod('securityContext');
  const own = container.get('securityContext');
  const effective = (key: string) => valueAt(own, [key]) ?? valueAt(pod, [key]);
  for (const [key, value] of Object.entries(RESTRICTED)) expect(valueAt(own, [key]), key).to.deep.equal(value);
  expect(effective('runAsNonRoot')).to.equal(true);
  expect(effective('runAsUser')).to.equal(65532);
  expect(effective('seccompProfile')).to.deep.equal({ type: 'RuntimeDefault' });
  expect(container.get('securityContext', 'privileged') ?? false).to.equal(false);
}
