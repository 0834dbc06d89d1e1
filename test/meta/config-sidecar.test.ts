// SPDX-License-Identifier: Apache-2.0
// The DNS64 beside CoreDNS in its pods: what the component makes of the CoreDNS of kubeadm and of k3s.

import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';
import { formatEndpoint } from '../../src/addr/ip.ts';
import { valueAt } from '../../src/config/tree.ts';
import { DNS_MIB, MIB, configOf, expectProbes, expectRestricted, form, version } from './manifest-expectations.ts';
import { Rendered, list, patchText } from './manifests.ts';
import { read } from './repository.ts';

/** Beside CoreDNS: each with its file in the ConfigMap, its ports and the volume that is its own. */
const SIDECARS = [
  { name: 'gate64', file: 'gate64.yaml', port: 5364, metrics: 'gate64-metrics', own: 'gate64-state' },
  { name: 'gate64-b', file: 'gate64-b.yaml', port: 5365, metrics: 'gate64b-metrics', own: 'gate64-b-state' },
] as const;

describe('DNS64 beside CoreDNS', function () {
  this.timeout(60_000);

  for (const cluster of ['kubeadm', 'k3s']) {
    describe(`that of ${cluster}`, () => {
      const folder = `test/meta/fixtures/${cluster}`;
      const coredns = () => form(folder).workload('coredns');

      it('starts before CoreDNS, ends after it, and leaves its container as it is', () => {
        const [own] = parseAllDocuments(read(`${folder}/deployment.yaml`)).map((document): unknown => document.toJS());
        expect(coredns().pod('containers')).to.deep.equal(valueAt(own, ['spec', 'template', 'spec', 'containers']));
        const names = list(coredns().pod('initContainers')).map((container) => valueAt(container, ['name']));
        expect(names).to.deep.equal(SIDECARS.map(({ name }) => name));
        for (const { name } of SIDECARS) {
          expect(coredns().container(name).get('restartPolicy')).to.equal('Always');
          expect(coredns().container(name).get('startupProbe')).to.not.equal(undefined);
        }
        const volumes = list(coredns().pod('volumes')).map((volume) => valueAt(volume, ['name']));
        expect(volumes).to.have.members([
          'gate64',
          'gate64-names',
          'gate64-state',
          'gate64-b-state',
          ...list(valueAt(own, ['spec', 'template', 'spec', 'volumes'])).map((volume) => valueAt(volume, ['name'])),
        ]);
      });

      it('has no capability, and answers inside the pod alone', () => {
        for (const { name, file, port, metrics } of SIDECARS) {
          const container = coredns().container(name);
          expectRestricted(coredns(), container);
          const config = configOf(form(folder), coredns(), container, file);
          expect(config.nat64.enabled).to.equal(false);
          expect(config.dns.listen.map(formatEndpoint)).to.deep.equal([`127.0.0.1:${port}`, `[::1]:${port}`]);
          expect(container.ports.get(metrics)).to.equal(config.http.listen.port);
          expectProbes(container, metrics);
          expect(container.get('image')).to.equal(`gate64:${version}`);
          expect(container.get('args')).to.deep.equal(
            file === 'gate64.yaml' ? ['run'] : ['run', '--config', `/etc/gate64/${file}`],
          );
          expect(container.memoryLimit).to.equal(DNS_MIB * MIB);
        }
      });

      it('is there twice, alike but for ports and what a container keeps', () => {
        const [first, second] = SIDECARS.map(({ name, file, metrics, port, own }) => {
          const container = coredns().container(name);
          const plain = (value: unknown) =>
            JSON.parse(JSON.stringify(value).replaceAll(metrics, 'METRICS').replaceAll(`"${own}"`, '"OWN"')) as object;
          const { dns, ...rest } = configOf(form(folder), coredns(), container, file);
          const keys = ['image', 'resources', 'securityContext', 'livenessProbe', 'startupProbe', 'volumeMounts'];
          return [
            keys.map((key) => plain(container.get(key))),
            { ...rest, http: { ...rest.http, listen: port } },
            { ...dns, listen: [] },
          ].map((value) => JSON.stringify(value).replaceAll(String(port), 'PORT'));
        });
        expect(first).to.deep.equal(second);
      });

      it('takes no port of CoreDNS', () => {
        const all = coredns().containers.flatMap(({ ports }) => [...ports.values()]);
        const own = SIDECARS.flatMap(({ name, port }) => [...coredns().container(name).ports.values(), port]);
        expect(own.filter((port) => all.indexOf(port) !== all.lastIndexOf(port))).to.deep.equal([]);
        expect(own.filter((port) => [53, 8080, 8181, 9153, 9253].includes(Number(port)))).to.deep.equal([]);
      });
    });
  }

  for (const cluster of ['kubeadm', 'k3s']) {
    it(`the patch file for the CoreDNS of ${cluster} does what the component does, once`, () => {
      const patchFile = `manifests/components/coredns-sidecar/${cluster}.yaml`;
      const folder = `test/meta/fixtures/${cluster}`;
      const once = patchText(read(`${folder}/deployment.yaml`), patchFile);
      expect(patchText(once, patchFile)).to.equal(once);
      const patched = new Rendered(once).workload('coredns');
      const { object } = form(folder).workload('coredns');
      expect(valueAt(patched.object, ['spec', 'template'])).to.deep.equal(valueAt(object, ['spec', 'template']));
      // One replica would leave nobody to answer while it is replaced.
      expect(valueAt(patched.object, ['spec', 'replicas'])).to.equal(2);
    });
  }
});
