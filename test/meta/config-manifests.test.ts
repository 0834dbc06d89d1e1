// SPDX-License-Identifier: Apache-2.0
// The Kubernetes manifests as kubectl's kustomize renders them: what runs, with which rights, and that the parts fit.

import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'chai';
import { parse, parseAllDocuments } from 'yaml';
import { formatEndpoint, formatIp6 } from '../../src/addr/ip.ts';
import { formatPrefix64 } from '../../src/addr/rfc6052.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { SHARED_PORTS } from '../../src/config/pool.ts';
import { valueAt } from '../../src/config/tree.ts';
import { DNS_MIB, MIB, configOf, expectProbes, expectRestricted, form, version } from './manifest-expectations.ts';
import { INSTALL, Rendered, installText, list, renderText, type Container, type Workload } from './manifests.ts';
import { ROOT, read, repositoryFiles } from './repository.ts';

const HALVES = { 'gate64-dns-a': 'gate64-dns-a', 'gate64-dns-b': 'gate64-dns-b' };
/** Of README.md beside the manifests; each with its Services, and what answers DNS behind each. */
const FORMS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  manifests: HALVES,
  'manifests/overlays/cilium': HALVES,
  'manifests/overlays/dns-daemonset': { 'gate64-dns-a': 'gate64', 'gate64-dns-b': 'gate64-dns-b' },
  'manifests/overlays/coredns-sidecar': {},
};
/** A session in all tables that it may be in, and their buckets (bpf/maps.h). */
const SESSION_OCTETS = 720;
const NODE_RIGHTS = {
  runAsUser: 0,
  privileged: false,
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'], add: ['BPF', 'NET_ADMIN', 'NET_RAW', 'PERFMON'] },
};

const files = repositoryFiles().filter((path) => path.startsWith('manifests/'));

describe('manifests', function () {
  this.timeout(60_000);
  it('are kustomizations that all build, components in one that takes them', () => {
    const folders = files.filter((path) => path.endsWith('/kustomization.yaml')).map((path) => dirname(path));
    const isComponent = (path: string) => valueAt(parse(read(`${path}/kustomization.yaml`)), ['kind']) === 'Component';
    for (const folder of folders.filter((path) => !isComponent(path))) {
      expect(form(folder).objects, folder).to.not.have.length(0);
    }
    const fixtures = repositoryFiles().filter((path) => /^test\/meta\/fixtures\/.*\/kustomization\.yaml$/.test(path));
    const taken = [...folders, ...fixtures.map((path) => dirname(path))].flatMap((folder) =>
      ((valueAt(parse(read(`${folder}/kustomization.yaml`)), ['components']) ?? []) as string[]).map((path) =>
        join(folder, path),
      ),
    );
    expect(folders.filter((path) => isComponent(path) && !taken.includes(path))).to.deep.equal([]);
  });

  it('are in install.yaml as they are (make manifests)', () => {
    expect(read(INSTALL)).to.equal(installText());
  });

  it('are YAML', () => {
    for (const path of files.filter((name) => name.endsWith('.yaml') && !name.includes('/templates/'))) {
      const errors = parseAllDocuments(read(path)).flatMap((document) => document.errors);
      expect(errors, path).to.deep.equal([]);
    }
  });

  it('every gate64.yaml is a configuration that gate64 accepts', () => {
    const configs = files.filter((path) => /\/gate64[\w-]*\.yaml$/.test(path));
    expect(configs).to.include('manifests/components/coredns-sidecar/gate64.yaml');
    for (const path of configs) expect(() => parseConfig(read(path), path), path).to.not.throw();
  });

  it('by default are the NAT64 on every node, and a DNS64 of their own', () => {
    expect(form('manifests').names).to.deep.equal([
      'ConfigMap gate64-system/gate64',
      'ConfigMap gate64-system/gate64-dns',
      'DaemonSet gate64-system/gate64',
      'Deployment gate64-system/gate64-dns-a',
      'Deployment gate64-system/gate64-dns-b',
      'Namespace gate64-system',
      'NetworkPolicy gate64-system/gate64-dns',
      'PodDisruptionBudget gate64-system/gate64-dns',
      'Service gate64-system/gate64-dns-a',
      'Service gate64-system/gate64-dns-b',
      'Service gate64-system/gate64-names',
      'ServiceAccount gate64-system/gate64',
      'ServiceAccount gate64-system/gate64-dns',
    ]);
    // hostNetwork, hostPath and capabilities are admitted nowhere below.
    const namespace = form('manifests').object('Namespace', 'gate64-system');
    expect(valueAt(namespace, ['metadata', 'labels', 'pod-security.kubernetes.io/enforce'])).to.equal('privileged');
  });

  for (const [folder, answers] of Object.entries(FORMS)) {
    describe(folder, () => {
      const daemon = () => form(folder).workload('gate64');

      it('grants the NAT64 exactly the capabilities that are needed, and no privilege beside', () => {
        expect(daemon().containers).to.have.length(1);
        expect(daemon().container().get('securityContext')).to.deep.equal(NODE_RIGHTS);
        expect(daemon().pod('securityContext', 'seccompProfile', 'type')).to.equal('RuntimeDefault');
        expect(['hostPID', 'hostIPC'].map((key) => daemon().pod(key))).to.deep.equal([undefined, undefined]);
      });

      it('runs the NAT64 in the network of every node, before everything else', () => {
        expect(daemon().pod('hostNetwork')).to.equal(true);
        // Where it answers names itself, it does not ask cluster DNS, which would ask it back.
        const answersNames = configOf(form(folder), daemon(), daemon().container()).dns.enabled;
        expect(daemon().pod('dnsPolicy')).to.equal(answersNames ? 'Default' : 'ClusterFirstWithHostNet');
        expect(daemon().pod('priorityClassName')).to.equal('system-node-critical');
        expect(daemon().pod('tolerations')).to.deep.equal([{ operator: 'Exists' }]);
        expect(valueAt(daemon().object, ['spec', 'updateStrategy'])).to.deep.equal({
          type: 'RollingUpdate',
          rollingUpdate: { maxUnavailable: 1 },
        });
      });

      it('mounts only what is kept on the node, each volume that is mounted being there', () => {
        const volumes = list(daemon().pod('volumes'));
        const hostPaths = volumes.map((volume) => valueAt(volume, ['hostPath', 'path'])).filter(Boolean);
        expect(hostPaths).to.deep.equal(['/sys/fs/bpf', '/proc/sys/net', '/run/gate64']);
        const mounts = list(daemon().container().get('volumeMounts')).map((mount) => valueAt(mount, ['name']));
        expect(mounts).to.deep.equal(volumes.map((volume) => valueAt(volume, ['name'])));
      });

      it('gives no token', () => {
        for (const workload of form(folder).workloads) {
          expect(workload.pod('automountServiceAccountToken'), workload.name).to.equal(false);
          const account = form(folder).object('ServiceAccount', String(workload.pod('serviceAccountName')));
          expect(valueAt(account, ['automountServiceAccountToken']), workload.name).to.equal(false);
        }
        expect(form(folder).names.filter((name) => /Role/.test(name))).to.deep.equal([]);
      });

      it('has every container listen where it is probed, in the version of the package', () => {
        for (const workload of form(folder).workloads) {
          const container = workload.container();
          const config = configOf(form(folder), workload, container);
          expect(container.get('image')).to.equal(`gate64:${version}`);
          expect(container.ports.get('metrics')).to.equal(config.http.listen.port);
          const isSecond = workload.pod('hostNetwork') === true && !config.nat64.enabled;
          expect(formatEndpoint(config.http.listen)).to.equal(isSecond ? '[::]:9165' : '[::]:9164');
          expectProbes(container, 'metrics');
          expect(container.get('readinessProbe'), workload.name).to.not.equal(undefined);
          const listens = config.dns.enabled ? config.dns.listen.map(({ port }) => port) : [];
          const declared = ['dns', 'dns-tcp'].map((name) => container.ports.get(name));
          expect(declared).to.deep.equal(config.dns.enabled ? [listens[0], listens[0]] : [undefined, undefined]);
        }
      });

      it('grants memory for all sessions and for a full DNS64, and limits no CPU', () => {
        for (const workload of form(folder).workloads) {
          const container = workload.container();
          const { dns, nat64 } = configOf(form(folder), workload, container);
          const needed =
            (nat64.enabled ? 256 * MIB + nat64.maxSessions * SESSION_OCTETS : 0) + (dns.enabled ? DNS_MIB * MIB : 0);
          expect(container.memoryLimit, workload.name).to.be.within(needed, needed + 512 * MIB);
          expect(container.get('resources', 'limits')).to.have.all.keys('memory');
          expect(container.get('resources', 'requests')).to.have.all.keys('cpu', 'memory');
        }
      });

      it('has DNS answered by one kind of pod, with the prefix and the destinations of the NAT64', () => {
        const configs = form(folder).workloads.map((workload) =>
          configOf(form(folder), workload, workload.container()),
        );
        const dnsBy = form(folder).workloads.filter((_, index) => configs[index]?.dns.enabled);
        expect(dnsBy.map(({ name }) => name)).to.have.members(Object.values(answers));
        const alike = configs.filter(({ dns }) => dns.enabled).map(({ dns }) => ({ ...dns, listen: [] }));
        expect(alike.filter((dns) => !isDeepStrictEqual(dns, alike[0]))).to.deep.equal([]);
        expect(configs.filter(({ nat64 }) => nat64.enabled)).to.have.length(1);
        for (const { prefixes, nat64 } of configs) {
          expect(prefixes).to.deep.equal(configs[0]?.prefixes);
          expect([nat64.deny, nat64.allowNonGlobalIpv4]).to.deep.equal([
            configs[0]?.nat64.deny,
            configs[0]?.nat64.allowNonGlobalIpv4,
          ]);
        }
      });

      it('leads each Service to the pods of one workload that answers, and one to each', () => {
        const services = form(folder).names.filter((name) => /^Service .*\/gate64-dns/.test(name));
        expect(services).to.deep.equal(Object.keys(answers).map((name) => `Service gate64-system/${name}`));
        for (const [name, answering] of Object.entries(answers)) {
          const service = form(folder).object('Service', name);
          const selector = valueAt(service, ['spec', 'selector']) as Record<string, string>;
          const chosen = form(folder).workloads.filter(({ labels }) =>
            Object.entries(selector).every(([key, value]) => labels[key] === value),
          );
          expect(chosen.map((workload) => workload.name)).to.deep.equal([answering]);
          // Local would leave nobody to answer while a node's pod is replaced.
          expect(valueAt(service, ['spec', 'internalTrafficPolicy']) ?? 'Cluster').to.equal('Cluster');
          const ports = list(valueAt(service, ['spec', 'ports'])).map((port) => [
            valueAt(port, ['port']),
            valueAt(port, ['targetPort']),
            valueAt(port, ['protocol']),
          ]);
          expect(ports).to.deep.equal([
            [53, 'dns', 'UDP'],
            [53, 'dns-tcp', 'TCP'],
          ]);
        }
      });

      it('keeps the names of ConfigMaps, so that a change is read and not rolled out', () => {
        const names = form(folder).names.filter((name) => name.startsWith('ConfigMap'));
        expect(
          names.every((name) => /\/gate64(?:-dns)?$/.test(name)),
          names.join(),
        ).to.equal(true);
      });

      it('has selectors that choose their own pods alone', () => {
        for (const { object, name } of form(folder).workloads) {
          const selector = valueAt(object, ['spec', 'selector', 'matchLabels']) as Record<string, string>;
          const chosen = form(folder).workloads.filter(({ labels }) =>
            Object.entries(selector).every(([key, value]) => labels[key] === value),
          );
          expect(chosen.map((workload) => workload.name)).to.deep.equal([name]);
        }
      });
    });
  }

  it('with DNS64 on the nodes’ network: its second answers until a DaemonSet’s pod that is replaced is back', () => {
    const folder = 'manifests/overlays/dns-daemonset';
    const second = form(folder).workload('gate64-dns-b');
    expectRestricted(second, second.container());
    expect(second.pod('hostNetwork')).to.equal(true);
    expect(second.pod('dnsPolicy')).to.equal('Default');
    // Two pods of it would want the same ports of a node.
    const strategy = valueAt(second.object, ['spec', 'strategy', 'rollingUpdate']);
    expect(strategy).to.deep.equal({ maxUnavailable: 1, maxSurge: 0 });
    const goesOn = Number(second.container().get('lifecycle', 'preStop', 'sleep', 'seconds'));
    expect(goesOn).to.be.greaterThan(6 + 10);
    expect(second.pod('terminationGracePeriodSeconds')).to.be.greaterThan(goesOn + 6);
    const taken = form(folder).workloads.flatMap((workload) => [
      ...new Set(workload.containers.flatMap(({ ports }) => [...ports.values()])),
    ]);
    expect(new Set(taken).size).to.equal(taken.length);
  });

  for (const half of ['a', 'b'])
    describe(`DNS64 in a Deployment, half ${half}`, () => {
      const deployment = () => form('manifests').workload(`gate64-dns-${half}`);
      const spec = (...path: string[]) => valueAt(deployment().object, ['spec', ...path]);

      it('is admitted under the restricted Pod Security Standard', () => {
        expect(deployment().containers).to.have.length(1);
        expectRestricted(deployment(), deployment().container());
        for (const key of ['hostNetwork', 'hostPID', 'hostIPC']) expect(deployment().pod(key), key).to.equal(undefined);
        const volumes = list(deployment().pod('volumes')).flatMap((volume) => Object.keys(volume as object));
        expect(volumes.filter((key) => key !== 'name')).to.have.members(['configMap', 'secret', 'emptyDir']);
      });

      it('always has one pod, away from the other half, of which one may be missing', () => {
        expect(spec('replicas')).to.equal(1);
        expect(spec('strategy', 'rollingUpdate')).to.deep.equal({ maxUnavailable: 0, maxSurge: 1 });
        const both = { 'app.kubernetes.io/name': 'gate64', 'app.kubernetes.io/component': 'dns64' };
        expect(spec('selector', 'matchLabels')).to.deep.equal({ ...both, 'gate64/half': half });
        const budget = form('manifests').object('PodDisruptionBudget', 'gate64-dns');
        expect(valueAt(budget, ['spec', 'maxUnavailable'])).to.equal(1);
        expect(valueAt(budget, ['spec', 'selector', 'matchLabels'])).to.deep.equal(both);
        for (const spread of list(deployment().pod('topologySpreadConstraints'))) {
          expect(valueAt(spread, ['labelSelector', 'matchLabels'])).to.deep.equal(both);
          // A cluster of one node has both on it.
          expect(valueAt(spread, ['whenUnsatisfiable'])).to.equal('ScheduleAnyway');
        }
      });

      it('may be asked by CoreDNS, and asks upstreams', () => {
        const policy = form('manifests').object('NetworkPolicy', 'gate64-dns');
        const labels = spec('selector', 'matchLabels');
        expect(labels).to.include(valueAt(policy, ['spec', 'podSelector', 'matchLabels']));
        const ports = (direction: string) =>
          list(valueAt(policy, ['spec', direction]))
            .flatMap((rule) => list(valueAt(rule, ['ports'])))
            .map((port) => valueAt(port, ['port']));
        expect(ports('ingress')).to.deep.equal(['dns', 'dns-tcp', 'metrics']);
        for (const name of ports('ingress')) expect(deployment().container().ports.has(name)).to.equal(true);
        expect(ports('egress')).to.deep.equal([53, 53, 853]);
      });
    });

  it('the values for Cilium leave the prefix, the device and the ports of the NAT64 alone', () => {
    const values: unknown = parse(read('manifests/overlays/cilium/values.yaml'));
    const cilium = form('manifests/overlays/cilium');
    const daemon = cilium.workload('gate64');
    const { prefixes, nat64 } = configOf(cilium, daemon, daemon.container());
    const excluded = list(valueAt(values, ['ipMasqAgent', 'config', 'nonMasqueradeCIDRs']));
    for (const { v6, length } of prefixes) expect(excluded).to.include(`${formatIp6(v6)}/${length}`);
    expect(valueAt(values, ['devices'])).to.not.include(nat64.device);
    const [first, last] = String(valueAt(values, ['nodePort', 'range']))
      .split(',')
      .map(Number);
    expect(first).to.be.lessThan(Number(last));
    expect(last).to.be.lessThan(SHARED_PORTS.firstPort);
  });

  it('Corefiles forward to gate64 and to nothing else, without a second DNS64', () => {
    const corefiles = files.filter((path) => path.startsWith('manifests/corefiles/'));
    expect(corefiles.map((path) => path.replace(/.*\//, '')).toSorted()).to.deep.equal([
      'eks.yaml',
      'k3s.yaml',
      'kubeadm.yaml',
      'nodelocaldns.yaml',
      'talos.yaml',
    ]);
    for (const path of corefiles) {
      const text = read(path).replaceAll(/^ *#.*$/gm, '');
      expect(
        text.match(/^ *forward .*$/gm)?.map((line) => line.trim()),
        path,
      ).to.deep.equal(['forward . GATE64_DNS {']);
      expect(text, path).to.not.match(/^ *dns64\b/m);
      // Else questions for names of addresses below the prefix end in CoreDNS.
      if (text.includes('kubernetes cluster.local')) expect(text, path).to.include('fallthrough in-addr.arpa ip6.arpa');
    }
  });

  it('are taken together as README.md beside them says', () => {
    const [, block] = /```yaml\n([^`]*\ncomponents:\n.*?)```/s.exec(read('manifests/README.md')) ?? [];
    const folder = 'test/meta/fixtures/monitored';
    const taken = parse(read(`${folder}/kustomization.yaml`)) as Record<'resources' | 'components', string[]>;
    const { resources, components } = parse(block ?? '') as typeof taken;
    expect(resources).to.deep.equal(taken.resources.map((path) => join(folder, path)));
    expect(components).to.deep.equal(taken.components.map((path) => join(folder, path)));
  });

  it('take values of one’s own as README.md beside them says', () => {
    const blocks = [...read('manifests/README.md').matchAll(/```yaml\n(.*?)```/gs)].map(([, text]) => text ?? '');
    const own = blocks.find((text) => text.includes('configMapGenerator')) ?? '';
    const folder = mkdtempSync(join(tmpdir(), 'gate64-own-'));
    try {
      const site = join(folder, 'site');
      mkdirSync(site);
      writeFileSync(
        join(site, 'kustomization.yaml'),
        own.replace('../gate64/', `${relative(realpathSync(site), ROOT)}/`),
      );
      const change = (path: string) => read(path).replace('prefix: 64:ff9b::/96', 'prefix: 2001:db8:64::/96');
      writeFileSync(join(site, 'gate64.yaml'), change('manifests/base/gate64.yaml'));
      writeFileSync(join(site, 'gate64-dns.yaml'), change('manifests/components/dns-deployment/gate64-dns.yaml'));
      const made = new Rendered(renderText(site));
      expect(made.names).to.deep.equal(form('manifests').names);
      for (const workload of made.workloads) {
        const container = workload.container();
        expect(container.get('image')).to.equal('registry.example/gate64:0.1.0');
        expect(configOf(made, workload, container).prefixes.map(formatPrefix64)).to.deep.equal(['2001:db8:64::/96']);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('PodMonitors choose pods by labels and ports that these have', () => {
    const monitored = form('test/meta/fixtures/monitored');
    const [all, sidecars] = ['gate64', 'gate64-coredns-sidecar'].map((name) => monitored.object('PodMonitor', name));
    const expectChosen = (monitor: unknown, workload: Workload) => {
      expect(workload.labels).to.include(valueAt(monitor, ['spec', 'selector', 'matchLabels']));
      const ports = list(valueAt(monitor, ['spec', 'podMetricsEndpoints'])).map((entry) => valueAt(entry, ['port']));
      const found = workload.containers.flatMap((container) => [...container.ports.keys()]);
      expect(ports.filter((port) => !found.includes(port as string))).to.deep.equal([]);
      return ports;
    };
    for (const workload of form('manifests').workloads) expectChosen(all, workload);
    for (const cluster of ['kubeadm', 'k3s']) {
      const ports = expectChosen(sidecars, form(`test/meta/fixtures/${cluster}`).workload('coredns'));
      expect(ports).to.deep.equal(['gate64-metrics', 'gate64b-metrics']);
    }
  });

  it('uninstall with the rights and the mounts of the NAT64, in a namespace that is not deleted with it', () => {
    const uninstall = form('manifests/uninstall').workload('gate64-uninstall');
    const daemon = form('manifests').workload('gate64');
    expect(uninstall.namespace).to.equal('gate64-uninstall');
    expect(uninstall.container('uninstall').get('args')).to.deep.equal(['uninstall']);
    // It reads no packets.
    const capabilities = { drop: ['ALL'], add: NODE_RIGHTS.capabilities.add.filter((name) => name !== 'NET_RAW') };
    expect(uninstall.container('uninstall').get('securityContext')).to.deep.equal({ ...NODE_RIGHTS, capabilities });
    const isRead = (entry: unknown) => ['config', 'names'].includes(String(valueAt(entry, ['name'])));
    const mounts = (container: Container) => list(container.get('volumeMounts')).filter((mount) => !isRead(mount));
    expect(mounts(uninstall.container('uninstall'))).to.deep.equal(mounts(daemon.container()));
    expect(uninstall.pod('volumes')).to.deep.equal(list(daemon.pod('volumes')).filter((volume) => !isRead(volume)));
    for (const key of ['hostNetwork', 'tolerations', 'securityContext', 'nodeSelector']) {
      expect(uninstall.pod(key), key).to.deep.equal(daemon.pod(key));
    }
    expectRestricted(uninstall, uninstall.container('done'));
    for (const container of uninstall.containers) expect(container.get('image')).to.equal(`gate64:${version}`);
  });

  it('mount what the code looks for', () => {
    const mounts = list(form('manifests').workload('gate64').container().get('volumeMounts'));
    const at = new Set(mounts.map((mount) => valueAt(mount, ['mountPath'])));
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

  it('leave time to drain', () => {
    const drain = Number(/LAMEDUCK_MS = ([\d_]+)/.exec(read('src/service.ts'))?.[1]?.replaceAll('_', ''));
    for (const { pod, name } of form('manifests').workloads.map((workload) => ({
      pod: workload.pod('terminationGracePeriodSeconds'),
      name: workload.name,
    }))) {
      expect(Number(pod), name).to.be.greaterThan(2 * (drain / 1000));
    }
  });
});

describe('events component', () => {
  it('gives the DaemonSet a token that may create events beside its pods, and nothing more', () => {
    const rendered = new Rendered(renderText('test/meta/fixtures/events'));
    const role = rendered.object('Role', 'gate64-events');
    expect(valueAt(role, ['rules'])).to.deep.equal([
      { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create'] },
    ]);
    const binding = rendered.object('RoleBinding', 'gate64-events');
    const daemonSet = rendered.workload('gate64');
    expect(valueAt(binding, ['roleRef', 'name'])).to.equal('gate64-events');
    expect(valueAt(binding, ['subjects'])).to.deep.equal([
      { kind: 'ServiceAccount', name: daemonSet.pod('serviceAccountName'), namespace: daemonSet.namespace },
    ]);
    const withToken = rendered.workloads.filter((workload) => workload.pod('automountServiceAccountToken') !== false);
    expect(withToken.map(({ name }) => name)).to.deep.equal(['gate64']);
    const fields = list(daemonSet.container().get('env')).map((entry) => [
      valueAt(entry, ['name']),
      valueAt(entry, ['valueFrom', 'fieldRef', 'fieldPath']),
    ]);
    expect(fields).to.deep.equal([
      ['POD_NAME', 'metadata.name'],
      ['POD_NAMESPACE', 'metadata.namespace'],
      ['POD_UID', 'metadata.uid'],
      ['NODE_NAME', 'spec.nodeName'],
    ]);
  });
});
