// SPDX-License-Identifier: Apache-2.0
// The walk of one flow: from facts to what is so at each stage, up to the first that breaks it. Pure.

import { formatIp4, formatIp6, formatIp6Net, ip6InNet, parseIp4, parseIp6Net } from '../../addr/ip.ts';
import { extractWithAny } from '../../addr/rfc6052.ts';
import { rcodeName } from '../../dns/wire.ts';
import type { FlowExamination } from '../../host/examine.ts';
import type { RouteAnswer } from '../../host/flow.ts';
import type { Interface } from '../../model/facts.ts';
import type { Finding, FindingName } from '../../plan/findings.ts';
import { shellWord } from '../../plan/shell.ts';
import { egressStage } from './egress-stage.ts';
import { isUnseen, type DatapathFlow, type Flow, type TraceFacts, type Unseen } from './facts.ts';
import { portStage } from './port-stage.ts';
import { replyStage } from './reply-stage.ts';
import { ok, problem, RESTART, unknown, type Stage, type StageName } from './stage.ts';

/** RFC 1035 4.1.1 */
const NXDOMAIN = 3;

const DNS_ELSEWHERE = 'The DNS64 runs elsewhere: name what pods ask with --server ADDRESS:PORT, as cluster DNS.';

/** The stages up to the first problem. A flow that gate64 is not in the way of ends after its name. */
export function traceStages(facts: TraceFacts): Stage[] {
  const { destination, node, datapath } = facts;
  const first = nameStage(facts);
  if (first.verdict === 'problem' || destination === undefined) return [first];
  const flow = { facts, destination };
  const onNode = (stage: StageName, judge: (flow: Flow, node: FlowExamination) => Stage) => () =>
    isUnseen(node) || node === undefined ? unseen(stage, node) : judge(flow, node);
  const onDatapath = (stage: StageName, judge: (flow: Flow, datapath: DatapathFlow) => Stage) => () =>
    isUnseen(datapath) || datapath === undefined ? unseen(stage, datapath) : judge(flow, datapath);
  const walk = [
    onNode('route', routeStage),
    () => deviceStage(facts),
    () => policyStage(flow),
    onDatapath('port', portStage),
    onNode('egress', egressStage),
    onDatapath('reply', replyStage),
  ];
  const stages = [first];
  for (const judge of walk) {
    const stage = judge();
    stages.push(stage);
    if (stage.verdict === 'problem') break;
  }
  return stages;
}

function unseen(stage: StageName, look: Unseen | undefined): Stage {
  return unknown(stage, `not looked at: ${look?.unseen ?? 'nobody asked'}`, look?.hint);
}

function nameStage({ name, native, destination, config }: TraceFacts): Stage {
  const prefixes = config.prefixes.map(formatIp6Net).join(', ');
  const isNative = native && `${formatIp6(native)} is not under ${prefixes}: gate64 is not in the way of this flow`;
  if (name === undefined) {
    if (destination === undefined) return ok('name', isNative ?? 'no address');
    return ok('name', `to the pod, ${formatIp4(destination.v4)} is ${formatIp6(destination.v6)}`);
  }
  const { server, aaaa, a, failure, refused } = name;
  if (aaaa === undefined) {
    // As in the DaemonSet of manifests/: what is asked is what this machine asks.
    const message = failure?.message ?? `${server} does not answer`;
    return problem('name', message, config.dns.enabled ? failure?.hint : DNS_ELSEWHERE);
  }
  const embedded = native && a?.records.find(({ address }) => isTailOf(parseIp4(address), native));
  if (native !== undefined && embedded !== undefined) {
    return problem(
      'name',
      `${name.name} has A ${embedded.address}, and ${server} answers ${formatIp6(native)}, which ends with it and is not under ${prefixes}`,
      'That is a DNS64 with another prefix: `prefix` must be the same in the configurations of DNS64 and NAT64.',
    );
  }
  if (isNative !== undefined) return ok('name', `${name.name} has an IPv6 address of its own; ${isNative}`);
  const v4 = a?.records.map(({ address }) => address).join(', ') ?? '';
  if (destination !== undefined) {
    const answer = `${formatIp6(destination.v6)} (TTL ${aaaa.records[0]?.ttlSeconds ?? 0} s)`;
    return ok('name', `${name.name} has A ${v4} and no AAAA; the DNS64 at ${server} answers ${answer}`);
  }
  if (refused.length > 0) {
    const why = refused.map(({ ipv4, reason }) => `${ipv4}: ${reason}`).join('; ');
    return problem('name', `DNS64 makes no AAAA for ${name.name}: ${why}`, 'Change the policy if it is to be reached.');
  }
  const said = rcodeName(aaaa.rcode) ?? `RCODE${aaaa.rcode}`;
  if (aaaa.rcode !== 0) {
    return problem(
      'name',
      `${server} answers ${said} for ${name.name}`,
      aaaa.rcode === NXDOMAIN
        ? 'Check the name.'
        : '`gate64 doctor` and `gate64 status` of the gate64 that answers DNS ask each upstream and show those that fail; in Kubernetes by default that is deployment/gate64-dns-a.',
    );
  }
  if (v4 === '') return problem('name', `${name.name} has neither AAAA nor A, says ${server}`, 'Check the name.');
  return problem(
    'name',
    `${name.name} has A ${v4}, but ${server} answers no AAAA made of it`,
    'Ask the DNS64 of this gate64 (--server), and see that its prefix is the one of this configuration.',
  );
}

function isTailOf(v4: number, v6: Uint8Array): boolean {
  return new DataView(v6.buffer, v6.byteOffset).getUint32(12) === v4;
}

function routeStage({ facts, destination }: Flow, { routes, findings }: FlowExamination): Stage {
  const { config, source } = facts;
  const { device } = config.nat64;
  const { toSource, toPrefix } = routes;
  const to = `${formatIp6Net(destination.prefix)}`;
  const isOwn = toSource.type === 'local';
  if (toSource.device === undefined) {
    const message = `the node has no route back to ${formatIp6(source)}: ${toSource.refused ?? 'none'}`;
    return problem('route', message, "Is that an address of a pod of this node? The CNI's routes lead to them.");
  }
  const stolen = found(findings, 'prefix-routed-elsewhere');
  if (toPrefix.device !== device) {
    if (stolen !== undefined) return problem('route', stolen.message, stolen.remedy, stolen.command);
    const what = toPrefix.refused === undefined ? `goes ${wayText(toPrefix)}` : `is refused: ${toPrefix.refused}`;
    const command = `ip -6 route replace ${to} dev ${shellWord(device)} proto 64`;
    return problem('route', `a packet to ${formatIp6(destination.v6)} ${what}, not to ${device}`, RESTART, command);
  }
  for (const name of isOwn ? [] : (['forwarding-off', 'forward-dropped'] as const)) {
    const finding = found(findings, name);
    if (finding !== undefined) return problem('route', finding.message, finding.remedy, finding.command);
  }
  const from = isOwn ? 'from the node itself' : `comes in by ${toSource.device}`;
  return ok('route', `${from}; ${to} leads to ${device}`);
}

function wayText({ device, gateway }: RouteAnswer): string {
  return `to ${device ?? 'nowhere'}${gateway === undefined ? '' : ` via ${gateway}`}`;
}

function found(findings: readonly Finding[], name: FindingName): Finding | undefined {
  return findings.find((finding) => finding.name === name);
}

function deviceStage({ config, node, datapath }: TraceFacts): Stage {
  const { device: name } = config.nat64;
  let seen = `${name}`;
  if (node !== undefined && !isUnseen(node)) {
    const device = node.interfaces.find((candidate) => candidate.name === name);
    const wrong =
      device === undefined ? problem('device', `there is no interface ${name}`, RESTART) : downStage(device);
    if (wrong !== undefined) return wrong;
    seen = `${name} is up, MTU ${device?.mtu}`;
  }
  if (datapath === undefined) return unknown('device', `${seen}; its program was not looked at`);
  if (isUnseen(datapath)) return problem('device', datapath.unseen, datapath.hint);
  // Without the accelerator packets go the node's way.
  const attachments = datapath.attachments.filter(({ name: program }) => program !== 'accel');
  for (const { name: program, attached } of attachments) {
    const where = program === 'gate' ? `the egress of ${name}` : 'the ingress of the uplink';
    if (!attached) return problem('device', `no program of gate64 hangs at ${where}: nothing is translated`, RESTART);
  }
  const hooks = attachments.map(({ name: program }) => `n64_${program}`).join(' and ');
  return ok('device', `${seen}; ${hooks} attached`);
}

function downStage({ name, isUp }: Interface): Stage | undefined {
  const command = `ip link set dev ${shellWord(name)} up`;
  return isUp ? undefined : problem('device', `the interface ${name} is down`, RESTART, command);
}

const LINK_LOCAL = parseIp6Net('fe80::/10');
const MULTICAST = parseIp6Net('ff00::/8');

function policyStage({ facts, destination }: Flow): Stage {
  const { config, source, node, datapath } = facts;
  const { allowSources } = config.nat64;
  const [from, to] = [formatIp6(source), formatIp4(destination.v4)];
  if ([LINK_LOCAL, MULTICAST].some((net) => ip6InNet(source, net))) {
    return problem(
      'policy',
      `${from} is a source that no forwarded packet may carry`,
      "Name the pod's global address.",
    );
  }
  if (extractWithAny(config.prefixes, source) !== undefined) {
    return problem('policy', `the source ${from} lies in the translation prefix itself (RFC 6146 3.5)`);
  }
  if (node !== undefined && !isUnseen(node) && datapath !== undefined && !isUnseen(datapath)) {
    const by = node.interfaces.find(({ name }) => name === node.routes.toSource.device);
    const { uplinkIfindex, uplinkCount } = datapath.settings;
    if (by !== undefined && uplinkIfindex.slice(0, uplinkCount).includes(by.ifindex)) {
      const message = `${from} is behind the uplink ${by.name}, and what comes in there is refused: gate64 is no open relay`;
      return problem('policy', message, "Trace from the node that the pod is on, by the pod's own address.");
    }
  }
  if (allowSources.length > 0 && !allowSources.some((net) => ip6InNet(source, net))) {
    const listed = allowSources.map(formatIp6Net).join(', ');
    return problem('policy', `${from} is not in nat64.allowSources (${listed})`, 'Add it, if it may use the gateway.');
  }
  if (destination.refused !== null) {
    return problem('policy', `${to} is refused: ${destination.refused}`, 'Change the policy if it is to be reached.');
  }
  const listed =
    allowSources.length > 0 ? 'is in nat64.allowSources' : 'may use the gateway (nat64.allowSources is empty)';
  return ok('policy', `${from} ${listed}; no list refuses ${to}`);
}
