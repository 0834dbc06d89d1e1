// SPDX-License-Identifier: Apache-2.0
// gate64 in a real cluster, from `kubectl apply -k` to nothing left behind, as its manifests and their README say. Run by
// run.sh, which names the cluster and the form of the manifests. Each test stands on those before it.

import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { differences, readState, type NodeState } from '../helpers/node-state.ts';
import { eventually } from '../helpers/processes.ts';
import { Cluster, ROOT } from './cluster.ts';
import { DAEMONSET, FORMS, Release, writeOverlay } from './forms.ts';
import { LoadPods } from './load-pods.ts';

const WEB = '2001:db8:64::c633:640a';
const METRICS = 'http://[2001:db8:1::10]:9164/metrics';
/** Short ones a second, of four pods together. */
const CONNECTIONS = 200;
const NAMESPACE = DAEMONSET.namespace;
/** As docs/quick-start.md asks for them. */
const DNS_SERVICES = 'app.kubernetes.io/component=dns64';
const ADDRESSES = 'jsonpath={.items[*].spec.clusterIP}';
const SERVER = [process.execPath, join(import.meta.dirname, 'server.ts'), '8000'];

const { GATE64_KUBE_STATE: state, GATE64_KUBE_FORM: formName = 'default' } = process.env;
const form = FORMS[formName];
if (state === undefined || form === undefined) throw new Error('test/kube is run by test/kube/run.sh FORM');
const cluster = new Cluster(state);

/** What `gate64 doctor -o json` prints, as far as it is looked at here. */
interface Doctor {
  readonly findings: readonly { readonly name: string; readonly severity: string }[];
  readonly unseen: string | null;
  readonly service: { readonly running: boolean; readonly ready: boolean };
}

/** What must be as before; pods' devices and kube-proxy's table come and go with pods. */
async function stateOfNode(): Promise<NodeState> {
  const text = (command: string) => cluster.node(['sh', '-c', command]);
  const [pins, file] = await Promise.all([
    text('find /sys/fs/bpf -mindepth 1 | sort'),
    text('ls /run/gate64 2>/dev/null || true'),
  ]);
  const all = await readState(text, { pins: pins.split('\n').filter(Boolean), stateFile: file !== '' });
  const ofPods = /\bveth|"table":"kube-proxy"|"name":"kube-proxy"/;
  const without = (value: unknown) =>
    Array.isArray(value) ? value.flat().filter((entry) => !ofPods.test(JSON.stringify(entry))) : value;
  return {
    ...all,
    links: without(all.links),
    routes4: without(all.routes4),
    routes6: without(all.routes6),
    nft: without((all.nft as { nftables: unknown[] }).nftables),
    sysctls: all.sysctls.filter((line) => !ofPods.test(line)),
  };
}

describe(`gate64 in a cluster, ${formName}`, function () {
  this.timeout(180_000);
  let untouched: NodeState;
  let overlay = '';
  const release = form.isChart === true ? new Release(cluster, form, state) : undefined;
  /** Where CoreDNS is to forward. */
  let forward: string;
  let corefile: string;

  const inTools = (...argv: string[]) => cluster.pod('tools', argv);

  before(async () => {
    await cluster.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'tools' },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'tools', image: 'localhost/tools:1', imagePullPolicy: 'Never' }],
      },
    });
    await cluster.kubectl(['wait', '--for=condition=Ready', 'pod/tools', '--timeout=30s'], { timeoutMs: 40_000 });
  });

  it('the node is Ready, and its pods have no IPv4', async () => {
    await cluster.kubectl(['wait', '--for=condition=Ready', 'node/node', '--timeout=10s']);
    expect(await inTools('ip', '-4', '-o', 'address', 'show', 'scope', 'global')).to.equal('');
    untouched = await stateOfNode();
    corefile = await cluster.kubectl(['-n', 'kube-system', 'get', 'configmap', 'coredns', '-o', 'json']);
  });

  it(`${release === undefined ? 'kubectl apply -k' : 'helm install'}: all pods become Ready`, async () => {
    if (release === undefined) {
      overlay = await writeOverlay(cluster, form, state);
      await cluster.kubectl(['apply', '-k', overlay]);
    } else await release.install();
    for (const namespace of form.sharesNames) {
      const secret = ['-n', namespace, 'create', 'secret', 'generic', 'gate64-names', '--from-literal=token=of-all'];
      await cluster.kubectl(secret);
    }
    await cluster.rolledOut(NAMESPACE, DAEMONSET.workload);
    if (form.dns === 'service') {
      for (const { namespace, workload } of form.answering) await cluster.rolledOut(namespace, workload);
      forward = await cluster.kubectl(['-n', NAMESPACE, 'get', 'service', '-l', DNS_SERVICES, '-o', ADDRESSES]);
    } else {
      const patch = join(ROOT, 'manifests/components/coredns-sidecar/kubeadm.yaml');
      await cluster.kubectl(['-n', 'kube-system', 'patch', 'deployment', 'coredns', '--patch-file', patch]);
      await cluster.rolledOut('kube-system', 'deployment/coredns');
      forward = '127.0.0.1:5364 127.0.0.1:5365';
    }
  });

  it('a pod asks each Service by UDP and by TCP, through kube-proxy', async function () {
    if (form.dns === 'sidecar') this.skip();
    for (const how of ['+notcp', '+tcp'].flatMap((way) => forward.split(' ').map((address) => [`@${address}`, way]))) {
      const ask = ['dig', ...how, '+short', '+tries=1', '+time=5', 'AAAA', 'v4only.example'];
      expect(await inTools(...ask), how.join(' ')).to.equal(WEB);
    }
  });

  it('CoreDNS forwards to it, by the ConfigMap of manifests/corefiles/kubeadm.yaml', async () => {
    const documented = readFileSync(join(ROOT, 'manifests/corefiles/kubeadm.yaml'), 'utf8');
    // As the file says, but for how soon CoreDNS looks: half a minute's wait shows nothing.
    const changed = documented.replaceAll('GATE64_DNS', forward).replace(/^( +)reload$/m, '$1reload 2s 1s');
    expect(changed).to.include(`forward . ${forward} {`).and.to.include('reload 2s');
    await cluster.kubectl(['apply', '-f', '-'], { input: changed });
    // Each CoreDNS hears of it in its own time.
    const ready = 'jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}';
    const endpoints = ['get', 'endpointslice', '-l', 'kubernetes.io/service-name=kube-dns', '-o', ready];
    await eventually(
      'a name of the internet is answered by every CoreDNS',
      async () => {
        const addresses = (await cluster.kubectl(['-n', 'kube-system', ...endpoints])).split(' ');
        const ask = (address: string) => inTools('dig', `@${address}`, '+short', 'AAAA', 'v4only.example');
        const answers = await Promise.all(addresses.map((address) => ask(address).catch(() => '')));
        return answers.every((answer) => answer === WEB) ? true : undefined;
      },
      120_000,
      1000,
    );
  });

  it('a pod that knows nothing of gate64 reaches an IPv4-only server by its name', async () => {
    const code = await inTools(
      'curl',
      '-sS',
      '-m',
      '10',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      'http://v4only.example/',
    );
    expect(code).to.equal('200');
    expect(await inTools('ping', '-c', '2', '-W', '5', 'v4only.example')).to.include(' 2 received');
    expect(await inTools('dig', '+tcp', '+short', 'AAAA', 'v4only.example')).to.equal(WEB);
    expect(await inTools('getent', 'ahostsv6', 'v4only.example')).to.include(WEB);
  });

  it('names with IPv6 of their own keep it, services of the cluster among them', async () => {
    for (const how of ['+notcp', '+tcp']) {
      expect(await inTools('dig', how, '+short', 'AAAA', 'dual.example')).to.equal('2001:db8:ffff::10');
      const service = await inTools('dig', how, '+short', 'AAAA', 'kubernetes.default.svc.cluster.local');
      expect(service).to.equal('fd00:10:96::1');
    }
    expect(await inTools('getent', 'ahostsv6', 'kubernetes.default')).to.include('fd00:10:96::1');
  });

  it('a ConfigMap that is wrong changes nothing and is shown; the right one is taken again', async function () {
    if (form.isShort === true) this.skip();
    const get = ['-n', NAMESPACE, 'get', 'configmap', 'gate64', '-o', 'jsonpath={.data.gate64\\.yaml}'];
    const good = await cluster.kubectl(get);
    const put = (text: string) =>
      cluster.kubectl(
        ['-n', NAMESPACE, 'patch', 'configmap', 'gate64', '--type=merge', '-p'].concat(
          JSON.stringify({ data: { 'gate64.yaml': text } }),
        ),
      );
    const taken = (value: 0 | 1) =>
      eventually(
        `gate64_config_last_reload_successful ${value}`,
        async () => {
          const metrics = await cluster.node(['curl', '-sS', '-m', '5', METRICS]);
          const line = new RegExp(`^gate64_config_last_reload_successful ${value}$`, 'm');
          return line.test(metrics) ? true : undefined;
        },
        120_000,
        1000,
      );
    const status = async () => {
      const command = ['-n', NAMESPACE, 'exec', DAEMONSET.workload, '--', 'gate64', 'status', '-o', 'json'];
      // As for every problem.
      const text = await cluster.kubectl(command, { accept: [1] });
      return JSON.parse(text) as { ready: boolean; configProblem: string };
    };
    await put(`${stringify({ ...(parse(good) as object), prefix: '2001:db8:65::/95' })}nonsense: 1\n`);
    await taken(0);
    const isShown = async () => {
      const { ready, configProblem } = await status();
      expect(ready).to.equal(true);
      expect(configProblem).to.match(/gate64\.yaml:\d+:\d+: /);
      expect(await inTools('curl', '-sS', '-m', '10', `http://[${WEB}]/`)).to.include('hello');
    };
    await isShown();
    // A pod that starts meanwhile takes what was accepted before.
    await cluster.kubectl(['-n', NAMESPACE, 'rollout', 'restart', DAEMONSET.workload]);
    await cluster.rolledOut(NAMESPACE, DAEMONSET.workload);
    await taken(0);
    await isShown();
    await put(good);
    await taken(1);
  });

  it('doctor and trace, run in the pod of the DaemonSet, see the node and find nothing wrong', async () => {
    const inGate64 = (...argv: string[]) =>
      cluster.kubectl(['-n', NAMESPACE, 'exec', DAEMONSET.workload, '--', 'gate64', ...argv, '-o', 'json'], {
        accept: [1],
      });
    const doctor = JSON.parse(await inGate64('doctor')) as Doctor;
    // With `direct` it says what rules of kube-proxy may do to the node's own ports; nothing else is to be said.
    const said = [...new Set(doctor.findings.map(({ name, severity }) => `${severity} ${name}`))];
    expect(said, JSON.stringify(doctor)).to.deep.equal(form.egress === 'direct' ? ['warning snat-any-port'] : []);
    expect(doctor.unseen).to.equal(null);
    expect(doctor.service, JSON.stringify(doctor)).to.include({ running: true, ready: true });
    const pod = await cluster.kubectl(['get', 'pod', 'tools', '-o', 'jsonpath={.status.podIP}']);
    const trace = JSON.parse(await inGate64('trace', pod, WEB, '80')) as { stages: { verdict: string }[] };
    expect(trace.stages.length, JSON.stringify(trace)).to.be.greaterThan(4);
    expect(trace.stages.filter(({ verdict }) => verdict !== 'ok')).to.deep.equal([]);
    // DNS64 runs elsewhere in most forms, so what pods ask is named.
    const address = ['get', 'service', 'kube-dns', '-o', 'jsonpath={.spec.clusterIP}'];
    const server = `[${await cluster.kubectl(['-n', 'kube-system', ...address])}]:53`;
    const named = JSON.parse(await inGate64('trace', pod, 'v4only.example', '80', '--server', server)) as typeof trace;
    expect(named.stages.filter(({ verdict }) => verdict !== 'ok')).to.deep.equal([]);
  });

  it('sessions have the name that the pod asked for, wherever it was answered', async () => {
    const sessions = ['-n', NAMESPACE, 'exec', DAEMONSET.workload, '--', 'gate64', 'sessions', '-o', 'json'];
    const seen = await eventually(
      'the session of a pod has its name',
      async () => {
        await inTools('curl', '-sS', '-m', '10', '-o', '/dev/null', 'http://v4only.example/');
        const rows = JSON.parse(await cluster.kubectl(sessions)) as { name: string | null; nameGuessed: boolean }[];
        return rows.find(({ name }) => name === 'v4only.example');
      },
      // A mounted Secret comes a minute or two after it was made.
      150_000,
      2000,
    );
    // The pod itself asked the Services before; sidecars know CoreDNS alone.
    expect(seen.nameGuessed).to.equal(form.dns === 'sidecar');
  });

  it('short connections of four pods beside a download as fast as it goes: none fails', async function () {
    if (form.isShort === true) this.skip();
    await using _server = cluster.startOnInternet(SERVER);
    // Asks again and again: 512 MiB take some seconds.
    const again = 'while curl -sS -o /dev/null http://v4only.example/big; do echo whole; done';
    await using download = cluster.startInPod('tools', ['sh', '-c', again]);
    await using pods = await LoadPods.start(cluster, {
      pods: 4,
      connections: CONNECTIONS,
      names: 0,
      expected: WEB,
    });
    await sleep(22_000);
    const counts = await pods.stop();
    const whole = download.log().match(/whole/g)?.length ?? 0;
    console.log(`        ${pods.summary(counts)}; ${whole} downloads of 512 MiB`);
    expect(download.exitCode(), `the download failed: ${download.log()}`).to.equal(undefined);
    expect(whole, download.log()).to.be.greaterThan(0);
    expect([counts.failed, counts.failures], pods.summary(counts)).to.deep.equal([0, []]);
    expect(counts.made, pods.summary(counts)).to.be.greaterThan(CONNECTIONS * 0.8 * pods.seconds);
  });

  it('restarted, deleted and killed under load: no connection, no download and no name is lost', async function () {
    if (form.isShort === true) this.skip();
    await using _server = cluster.startOnInternet(SERVER);
    await using pods = await LoadPods.start(cluster, {
      pods: 4,
      connections: CONNECTIONS,
      names: 40,
      expected: WEB,
    });
    const slow = '-sS -o /dev/null --limit-rate 3M --speed-limit 1000 --speed-time 5'.split(' ');
    await using download = cluster.startInPod('tools', ['curl', ...slow, 'http://v4only.example/big']);
    const disturbed = [...new Set([DAEMONSET, ...form.answering])];
    for (const { namespace, workload, selector, containers = ['gate64'] } of disturbed) {
      await sleep(2000);
      pods.mark(`rollout restart of ${workload}`);
      await cluster.kubectl(['-n', namespace, 'rollout', 'restart', workload]);
      await cluster.rolledOut(namespace, workload);
      pods.mark(`a pod of ${workload} deleted`);
      await cluster.kubectl([
        '-n',
        namespace,
        'delete',
        '--wait=false',
        (await cluster.pods(namespace, selector))[0] ?? '',
      ]);
      await sleep(1000);
      await cluster.rolledOut(namespace, workload);
      for (const container of containers) {
        pods.mark(`${container} of ${workload} killed`);
        const id = await cluster.runningContainer(namespace, selector, container);
        await cluster.node(['ctr', '-n', 'k8s.io', 'tasks', 'kill', '--signal', 'SIGKILL', id]);
        await sleep(3000);
        await cluster.rolledOut(namespace, workload);
      }
    }
    pods.mark('rollout restart of all, as a new image does');
    const restart = disturbed.map(({ namespace, workload }) =>
      cluster.kubectl(['-n', namespace, 'rollout', 'restart', workload]),
    );
    await Promise.all(restart);
    await sleep(1000);
    for (const { namespace, workload } of disturbed) await cluster.rolledOut(namespace, workload);
    const counts = await pods.stop();
    expect(download.exitCode(), `the download ended: ${download.log()}`).to.equal(undefined);
    console.log(`        ${pods.summary(counts)}`);
    expect(counts.failed, pods.summary(counts)).to.equal(0);
    expect(counts.failures, pods.summary(counts)).to.deep.equal([]);
    expect([counts.unanswered, counts.askedAgain], pods.summary(counts)).to.deep.equal([0, 0]);
    expect(counts.answered, pods.summary(counts)).to.be.greaterThan(40 * 0.5 * pods.seconds);
    expect(counts.made, pods.summary(counts)).to.be.greaterThan(CONNECTIONS * 0.8 * pods.seconds);
  }).timeout(300_000);

  it(`${release === undefined ? 'kubectl delete -k' : 'helm uninstall'} and what the documentation says leave the node as it was`, async () => {
    await cluster.kubectl(['replace', '-f', '-'], { input: withoutVersion(corefile) });
    for (const namespace of form.sharesNames) {
      const secret = ['-n', namespace, 'delete', 'secret', 'gate64-names', '--ignore-not-found'];
      await cluster.kubectl(secret);
    }
    if (form.dns === 'sidecar') await cluster.kubectl(['-n', 'kube-system', 'rollout', 'undo', 'deployment/coredns']);
    if (release === undefined) await cluster.kubectl(['delete', '-k', overlay, '--timeout=60s'], { timeoutMs: 70_000 });
    else await release.uninstall();
    await cluster.kubectl(['apply', '-k', join(ROOT, 'manifests/uninstall')]);
    await cluster.rolledOut('gate64-uninstall', 'daemonset/gate64-uninstall');
    await cluster.kubectl(['delete', '-k', join(ROOT, 'manifests/uninstall'), '--timeout=60s'], { timeoutMs: 70_000 });
    expect(differences(untouched, await stateOfNode())).to.deep.equal([]);
  });
});

function withoutVersion(json: string): string {
  const object = JSON.parse(json) as { metadata: Record<string, unknown> };
  const { resourceVersion: _version, uid: _uid, ...metadata } = object.metadata;
  return JSON.stringify({ ...object, metadata });
}
