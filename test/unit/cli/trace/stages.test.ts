// SPDX-License-Identifier: Apache-2.0
// The walk of one flow: every stage that may break, by facts alone.

import { expect } from 'chai';
import { parseIp4, parseIp4Net, parseIp6, parseIp6Net } from '../../../../src/addr/ip.ts';
import type { DatapathFlow, TraceFacts } from '../../../../src/cli/trace/facts.ts';
import { traceStages } from '../../../../src/cli/trace/stages.ts';
import { parseConfig } from '../../../../src/config/parse.ts';
import type { FlowExamination } from '../../../../src/host/examine.ts';
import type { DropRow } from '../../../../src/datapath/datapath.ts';
import type { Interface } from '../../../../src/model/facts.ts';
import { blockRow, MemoryReader, sessionRow } from '../../../helpers/reader.ts';
import { NOW } from '../helper.ts';

const POD = parseIp6('2001:db8::5');
const V4 = parseIp4('203.0.113.7');
const V6 = parseIp6('64:ff9b::203.0.113.7');
const PREFIX = parseIp6Net('64:ff9b::/96');

const config = (text = '{}') => parseConfig(text, 'gate64.yaml');

function link(ifindex: number, name: string, changes: Partial<Interface> = {}): Interface {
  const rest = { kind: 'veth', linkType: 'ether', mac: new Uint8Array(6), mtu: 9000, isUp: true, arpOff: false };
  const unknown = { addrGenMode: undefined, peer: undefined, master: undefined, groIp4: undefined };
  const none = { ...unknown, addresses4: [], addresses6: [] };
  return { ifindex, name, ...rest, ...none, ...changes };
}

const route = (device: string | undefined, changes: object = {}) => ({
  type: 'unicast',
  device,
  gateway: undefined,
  refused: undefined,
  ...changes,
});

const ROUTES = {
  toSource: route('pod0'),
  toPrefix: route('gate64'),
  toDestination: route('up0', { gateway: '192.0.2.254' }),
  neighbour: 'REACHABLE',
};

const MASQUERADE = {
  nets: [parseIp4Net('192.0.2.0/24')],
  device: 'gate64',
  times: undefined,
  hasTimes: true,
  guardsNode: true,
  closed: [],
  opened: [],
  leaving: [],
  lost: [],
};

function node(changes: Partial<FlowExamination> = {}, routes: Partial<typeof ROUTES> = {}): FlowExamination {
  return {
    findings: [],
    unseen: undefined,
    interfaces: [link(1, 'pod0'), link(2, 'gate64'), link(3, 'up0')],
    masquerade: MASQUERADE,
    forwarding4: true,
    routes: { ...ROUTES, ...routes },
    ...changes,
  };
}

function datapath(changes: Partial<DatapathFlow> = {}): DatapathFlow {
  return {
    settings: {
      ...new MemoryReader().settings(),
      uplinkIfindex: [3],
      uplinkCount: 1,
      maxSessionsPerPod: 16,
      maxBlocksPerPod: 1,
    },
    attachments: [{ name: 'gate', ifindex: 2, attached: true }],
    sessions: [],
    podSessions: 0,
    blocks: [blockRow()],
    draining: [],
    statics: [],
    table: { entries: 0, maxEntries: 1000 },
    drops: [],
    ...changes,
  };
}

function facts(changes: Partial<TraceFacts> = {}): TraceFacts {
  return {
    config: config(),
    now: NOW,
    protocol: 'tcp',
    source: POD,
    port: 80,
    name: undefined,
    native: undefined,
    destination: { v4: V4, v6: V6, prefix: PREFIX, refused: null },
    node: node(),
    datapath: datapath(),
    ...changes,
  };
}

const session = (changes: object = {}) => sessionRow(NOW, { destination6: V6, ...changes });
const held = (used: number) =>
  blockRow({ state: 'leased', holder: POD, size: 16, used: { tcp: used, udp: 0, icmp: 0 } });
const drop = (agoMs: number): DropRow => ({
  reason: 'pool_exhausted',
  direction: '6to4',
  count: 3,
  last: {
    at: NOW - agoMs,
    source: '2001:db8::5',
    destination: '64:ff9b::cb00:7107',
    protocol: 6,
    sourcePort: 40_000,
    destinationPort: 80,
    icmpType: null,
    icmpCode: null,
    length: 80,
  },
});
const asked = (changes: object) => ({
  name: 'a.example',
  server: '127.0.0.1:5364',
  aaaa: { rcode: 0, records: [] },
  a: { rcode: 0, records: [] },
  failure: undefined,
  refused: [],
  ...changes,
});
const nowhere = { destination: undefined, node: undefined, datapath: undefined };
const A = { rcode: 0, records: [{ name: 'a.example', address: '203.0.113.7', ttlSeconds: 60 }] };
const found = (name: 'forwarding-off' | 'forward-dropped' | 'prefix-routed-elsewhere' | 'tracking-full') => ({
  findings: [{ name, severity: 'warning', message: name, remedy: 'mend it', command: 'mend' } as const],
});

describe('trace: stages', () => {
  it('a flow that nobody has begun is fine up to the reply, which is not known', () => {
    const stages = traceStages(facts());
    expect(stages.map(({ stage, verdict }) => `${stage} ${verdict}`)).to.deep.equal([
      'name ok',
      'route ok',
      'device ok',
      'policy ok',
      'port ok',
      'egress ok',
      'reply unknown',
    ]);
  });

  it('a session that was answered is fine to its end', () => {
    const last = traceStages(facts({ datapath: datapath({ sessions: [session()] }) })).at(-1);
    expect(last).to.include({ stage: 'reply', verdict: 'ok' });
  });

  it('a native address ends the walk after its name, without a problem', () => {
    const stages = traceStages(facts({ ...nowhere, native: parseIp6('2001:db8::80') }));
    expect(stages.map(({ stage, verdict }) => [stage, verdict])).to.deep.equal([['name', 'ok']]);
  });

  it('an address that ends with the name’s IPv4 address is of a DNS64 with another prefix', () => {
    const native = parseIp6('2001:db8:65::c633:640a');
    const name = asked({ a: { rcode: 0, records: [{ name: 'x.example', address: '198.51.100.10', ttlSeconds: 60 }] } });
    const [stage, ...others] = traceStages(facts({ ...nowhere, name, native }));
    expect(others).to.deep.equal([]);
    expect(stage).to.include({ stage: 'name', verdict: 'problem' });
    expect(stage?.message).to.include('A 198.51.100.10').and.to.include('2001:db8:65::c633:640a');
    expect(stage?.remedy).to.include('`prefix`');
  });

  it('where dns.enabled is false and nobody answers it says that the DNS64 runs elsewhere', () => {
    const silent = (text: string) => {
      const name = asked({ aaaa: undefined, failure: { message: 'no answer', hint: 'is it running?' } });
      return traceStages(facts({ ...nowhere, name, config: config(text) }))[0];
    };
    expect(silent('dns: { enabled: false }')?.message).to.equal('no answer');
    expect(silent('dns: { enabled: false }')?.remedy).to.include('--server');
    expect(silent('{}')).to.include({ message: 'no answer', remedy: 'is it running?' });
  });

  const BROKEN: readonly [what: string, changes: Partial<TraceFacts>, stage: string, message: RegExp][] = [
    [
      'a DNS64 that does not answer',
      { ...nowhere, name: asked({ aaaa: undefined, failure: { message: 'no answer' } }) },
      'name',
      /no answer/,
    ],
    [
      'a name that does not exist',
      { ...nowhere, name: asked({ aaaa: { rcode: 3, records: [] } }) },
      'name',
      /NXDOMAIN/,
    ],
    ['a name without addresses', { ...nowhere, name: asked({}) }, 'name', /neither AAAA nor A/],
    ['a resolver that makes no AAAA', { ...nowhere, name: asked({ a: A }) }, 'name', /no AAAA made of it/],
    [
      'a name of refused addresses',
      { ...nowhere, name: asked({ a: A, refused: [{ ipv4: '203.0.113.7', reason: 'denied' }] }) },
      'name',
      /makes no AAAA .*: 203\.0\.113\.7: denied/,
    ],
    [
      'no way back to the pod',
      { node: node({}, { toSource: route(undefined, { refused: 'Network is unreachable' }) }) },
      'route',
      /no route back/,
    ],
    [
      'a missing route',
      { node: node({}, { toPrefix: route(undefined, { refused: 'No route to host' }) }) },
      'route',
      /is refused: No route to host, not to gate64/,
    ],
    ['a route elsewhere', { node: node({}, { toPrefix: route('up0') }) }, 'route', /goes to up0, not to gate64/],
    [
      'a route of somebody else',
      { node: node(found('prefix-routed-elsewhere'), { toPrefix: route('up0') }) },
      'route',
      /^prefix-routed-elsewhere$/,
    ],
    ['IPv6 forwarding off', { node: node(found('forwarding-off')) }, 'route', /^forwarding-off$/],
    ['a firewall that drops', { node: node(found('forward-dropped')) }, 'route', /^forward-dropped$/],
    ['no device', { node: node({ interfaces: [link(1, 'pod0')] }) }, 'device', /no interface gate64/],
    [
      'a device that is down',
      { node: node({ interfaces: [link(2, 'gate64', { isUp: false })] }) },
      'device',
      /is down/,
    ],
    ['no data plane', { datapath: { unseen: 'no data plane', hint: 'start it' } }, 'device', /no data plane/],
    [
      'a detached program',
      { datapath: datapath({ attachments: [{ name: 'gate', ifindex: 2, attached: false }] }) },
      'device',
      /egress of gate64/,
    ],
    [
      'a detached uplink',
      { datapath: datapath({ attachments: [{ name: 'uplink', ifindex: 3, attached: false }] }) },
      'device',
      /ingress of the uplink/,
    ],
    ['a link-local source', { source: parseIp6('fe80::5') }, 'policy', /no forwarded packet may carry/],
    ['a source in the prefix', { source: V6 }, 'policy', /in the translation prefix/],
    ['a source behind the uplink', { node: node({}, { toSource: route('up0') }) }, 'policy', /no open relay/],
    [
      'a source that is not listed',
      { config: config('nat64: { allowSources: ["2001:db8:9::/48"] }') },
      'policy',
      /allowSources/,
    ],
    [
      'a refused destination',
      { destination: { v4: V4, v6: V6, prefix: PREFIX, refused: 'nat64.deny has it' } },
      'policy',
      /refused: nat64\.deny has it/,
    ],
    [
      'a data plane without a pool',
      { datapath: datapath({ settings: { ...datapath().settings, slots: 0 } }) },
      'port',
      /no pool/,
    ],
    ['a full quota of sessions', { datapath: datapath({ podSessions: 16 }) }, 'port', /16 of 16 sessions/],
    ['a full session table', { datapath: datapath({ table: { entries: 9, maxEntries: 9 } }) }, 'port', /table is full/],
    [
      'a full quota of blocks',
      { datapath: datapath({ blocks: [held(16), blockRow({ index: 1 })] }) },
      'port',
      /1 of 1 blocks/,
    ],
    [
      'a full quota of blocks, one of an address that left the pool',
      { datapath: datapath({ blocks: [held(1)], draining: [held(1).v4] }) },
      'port',
      /1 of 1 blocks.*, 1 of an address that left the pool/,
    ],
    [
      'a pool whose only address drains',
      { datapath: datapath({ blocks: [blockRow()], draining: [blockRow().v4] }) },
      'port',
      /no block of ports is left/,
    ],
    [
      'an exhausted pool',
      { datapath: datapath({ blocks: [blockRow({ state: 'resting' })] }) },
      'port',
      /no block of ports is left/,
    ],
    ['no table of nftables', { node: node({ masquerade: undefined }) }, 'egress', /missing or changed/],
    [
      'a table for another pool',
      { node: node({ masquerade: { ...MASQUERADE, nets: [parseIp4Net('192.0.0.0/29')] } }) },
      'egress',
      /not 192\.0\.2\.1/,
    ],
    ['full connection tracking', { node: node(found('tracking-full')) }, 'egress', /^tracking-full$/],
    [
      'no IPv4 route',
      { node: node({}, { toDestination: route(undefined, { refused: 'Network is unreachable' }) }) },
      'egress',
      /no IPv4 route/,
    ],
    [
      'a destination on the node itself',
      { node: node({}, { toDestination: route('lo', { type: 'local' }) }) },
      'egress',
      /back to the node itself/,
    ],
    ['a dead next hop', { node: node({}, { neighbour: 'FAILED' }) }, 'egress', /192\.0\.2\.254 on up0 does not answer/],
    [
      'a fresh drop of this flow',
      { datapath: datapath({ drops: [drop(5000)] }) },
      'reply',
      /pool_exhausted \(3 in all, the last one of this flow 5s ago\)/,
    ],
    [
      'a server that does not answer',
      { datapath: datapath({ sessions: [session({ packetsIn: 0 })] }) },
      'reply',
      /10 packets out, 0 in, .* no answer came back/,
    ],
  ];
  for (const [what, changes, stage, message] of BROKEN) {
    it(`${what} ends the walk at ${stage}`, () => {
      const stages = traceStages(facts(changes));
      expect(stages.at(-1)).to.include({ stage, verdict: 'problem' });
      expect(stages.at(-1)?.message).to.match(message);
      expect(stages.slice(0, -1).map(({ verdict }) => verdict)).not.to.include('problem');
    });
  }

  it('an old drop is no problem of now', () => {
    const last = traceStages(facts({ datapath: datapath({ drops: [drop(3_600_000)] }) })).at(-1);
    expect(last).to.include({ stage: 'reply', verdict: 'unknown' });
  });

  it('what could not be looked at is unknown and does not end the walk', () => {
    const stages = traceStages(facts({ node: { unseen: 'no rights', hint: 'run it as root' } }));
    expect(stages.map(({ verdict }) => verdict)).to.deep.equal([
      'ok',
      'unknown',
      'ok',
      'ok',
      'ok',
      'unknown',
      'unknown',
    ]);
  });
});
