// SPDX-License-Identifier: Apache-2.0
// The Kubernetes manifests as kubectl's kustomize renders them: what runs, with which rights, and that the parts fit.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';
import { formatEndpoint } from '../../src/addr/ip.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { valueAt } from '../../src/config/tree.ts';
import { ROOT, read } from './repository.ts';

const CONTAINER = ['spec', 'template', 'spec', 'containers', 0];

function render(): unknown[] {
  const kubectl = execFileSync(join(ROOT, 'test/deps/kubectl.sh'), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const text = execFileSync(kubectl.trim(), ['kustomize', join(ROOT, 'manifests')], { encoding: 'utf8' });
  return parseAllDocuments(text).map((document): unknown => document.toJS());
}

function list(value: unknown): unknown[] {
  expect(value).to.be.an('array');
  return Array.isArray(value) ? value : [];
}

describe('manifests', function () {
  this.timeout(60_000);
  let objects: unknown[];
  before(() => {
    objects = render();
  });

  const object = (kind: string) => objects.find((candidate) => valueAt(candidate, ['kind']) === kind);
  const pod = (...path: (string | number)[]) => valueAt(object('DaemonSet'), ['spec', 'template', 'spec', ...path]);
  const container = (...path: (string | number)[]) => valueAt(object('DaemonSet'), [...CONTAINER, ...path]);

  it('are a namespace and what belongs in it', () => {
    expect(objects.map((entry) => String(valueAt(entry, ['kind']))).toSorted()).to.deep.equal([
      'ConfigMap',
      'DaemonSet',
      'Namespace',
      'Service',
      'ServiceAccount',
    ]);
    for (const entry of objects) {
      const at = valueAt(entry, ['kind']) === 'Namespace' ? ['metadata', 'name'] : ['metadata', 'namespace'];
      expect(valueAt(entry, at)).to.equal('gate64-system');
    }
    // hostNetwork, hostPath and capabilities are admitted nowhere below.
    expect(valueAt(object('Namespace'), ['metadata', 'labels', 'pod-security.kubernetes.io/enforce'])).to.equal(
      'privileged',
    );
  });

  it('grant exactly the capabilities that are needed, and no privilege beside', () => {
    expect(container('securityContext')).to.deep.equal({
      runAsUser: 0,
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: ['BPF', 'NET_ADMIN', 'PERFMON'] },
    });
    expect(pod('securityContext', 'seccompProfile', 'type')).to.equal('RuntimeDefault');
    expect(pod('containers')).to.have.length(1);
    expect(pod('initContainers')).to.equal(undefined);
  });

  it('give no token', () => {
    expect(valueAt(object('ServiceAccount'), ['automountServiceAccountToken'])).to.equal(false);
    expect(pod('automountServiceAccountToken')).to.equal(false);
    expect(pod('serviceAccountName')).to.equal('gate64');
  });

  it('run in the network of every node, before everything else, with the node’s resolvers', () => {
    expect(pod('hostNetwork')).to.equal(true);
    expect(pod('dnsPolicy')).to.equal('Default');
    expect(pod('priorityClassName')).to.equal('system-node-critical');
    expect(pod('tolerations')).to.deep.equal([{ operator: 'Exists' }]);
    expect(valueAt(object('DaemonSet'), ['spec', 'updateStrategy', 'type'])).to.equal('RollingUpdate');
  });

  it('mount only what is kept on the node, each volume that is mounted being there', () => {
    const volumes = list(pod('volumes'));
    const hostPaths = volumes
      .map((volume) => valueAt(volume, ['hostPath', 'path']))
      .filter((path) => path !== undefined);
    expect(hostPaths).to.deep.equal(['/sys/fs/bpf', '/proc/sys/net', '/run/gate64']);
    const mounted = list(container('volumeMounts')).map((mount) => valueAt(mount, ['name']));
    expect(mounted).to.deep.equal(volumes.map((volume) => valueAt(volume, ['name'])));
  });

  it('mount what the code looks for', () => {
    const at = new Set(list(container('volumeMounts')).map((mount) => valueAt(mount, ['mountPath'])));
    for (const [path, file] of [
      ['/sys/fs/bpf', 'src/datapath/pins.ts'],
      ['/host/proc/sys/net', 'src/host/sysctls.ts'],
      ['/run/gate64', 'src/host/state.ts'],
      ['/etc/gate64', 'src/config/load.ts'],
    ] as const) {
      expect(at.has(path), path).to.equal(true);
      expect(read(file), file).to.include(path);
    }
  });

  it('hold a configuration that gate64 accepts, on the ports that are probed', () => {
    const text = valueAt(object('ConfigMap'), ['data', 'gate64.yaml']);
    const config = parseConfig(String(text), 'manifests/gate64.yaml');
    const ports = new Map(
      list(container('ports')).map((port) => [valueAt(port, ['name']), valueAt(port, ['containerPort'])]),
    );
    expect(ports.get('metrics')).to.equal(config.http.listen.port);
    expect(config.dns.listen.map(({ port }) => port)).to.deep.equal([ports.get('dns')]);
    expect(ports.get('dns-tcp')).to.equal(ports.get('dns'));
    expect(formatEndpoint(config.http.listen)).to.equal('[::]:9164');
    for (const [probe, path] of [
      ['startupProbe', '/healthz'],
      ['livenessProbe', '/healthz'],
      ['readinessProbe', '/readyz'],
    ] as const) {
      expect(container(probe, 'httpGet')).to.deep.equal({ path, port: 'metrics' });
    }
  });

  it('keep the name of the ConfigMap, so that a change is read and not rolled out', () => {
    expect(valueAt(object('ConfigMap'), ['metadata', 'name'])).to.equal('gate64');
    expect(pod('volumes', 0, 'configMap', 'name')).to.equal('gate64');
  });

  it('lead the service to the pods, each node to its own', () => {
    const selector = valueAt(object('Service'), ['spec', 'selector']);
    expect(selector).to.deep.equal({ 'app.kubernetes.io/name': 'gate64' });
    const labels = valueAt(object('DaemonSet'), ['spec', 'template', 'metadata', 'labels']);
    expect(labels).to.include({ 'app.kubernetes.io/name': 'gate64' });
    expect(valueAt(object('Service'), ['spec', 'internalTrafficPolicy'])).to.equal('Local');
    const targets = list(valueAt(object('Service'), ['spec', 'ports'])).map((port) => valueAt(port, ['targetPort']));
    expect(targets).to.deep.equal(['dns', 'dns-tcp']);
  });

  it('run the version of the package, bound in memory but not in CPU', () => {
    const { version }: { version: string } = JSON.parse(read('package.json'));
    expect(container('image')).to.equal(`gate64:${version}`);
    expect(read('Dockerfile')).to.include(`gate64:${version}`);
    expect(container('resources', 'limits')).to.have.all.keys('memory');
    expect(container('resources', 'requests')).to.have.all.keys('cpu', 'memory');
  });

  it('the image copies what there is to copy', () => {
    const copied = [...read('Dockerfile').matchAll(/^COPY (.*) \S+$/gm)].flatMap((match) =>
      (match[1] ?? '').split(' '),
    );
    const admitted = read('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'));
    expect(admitted.map((line) => line.slice(1)).toSorted()).to.deep.equal(copied.toSorted());
    // dist/ is made by `make build`.
    expect(copied.filter((path) => path !== 'dist' && !existsSync(join(ROOT, path)))).to.deep.equal([]);
  });
});
