// SPDX-License-Identifier: Apache-2.0
// The one list of what the bench measures, and what each figure means.

export const PARTS = ['bulk', 'packets', 'dns'] as const;
export type Part = (typeof PARTS)[number];

export interface Figure {
  readonly part: Part;
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
  /** The system that ratios are taken to. */
  readonly base: string;
  readonly meaning: string;
}

const FRAME = 'UDP datagrams of 22 octets: frames of 64 octets in IPv4, of 84 in IPv6';

export const FIGURES = {
  bulk: {
    part: 'bulk',
    title: 'TCP bulk',
    unit: 'Gbit/s',
    digits: 2,
    base: 'plain',
    meaning: 'One TCP stream from pod to server (iperf3), with the segmentation offload that veth links have.',
  },
  oneFlow: {
    part: 'packets',
    title: 'Packet rate, 1 flow',
    unit: 'k packets/s',
    digits: 0,
    base: 'plain',
    meaning: `${FRAME}; one flow that was answered before, offered faster than any system carries, counted at the server's device.`,
  },
  manyFlows: {
    part: 'packets',
    title: 'Packet rate, 1000 flows',
    unit: 'k packets/s',
    digits: 0,
    base: 'plain',
    meaning: 'The same from 1000 source ports in turn, all answered before: every packet meets another session.',
  },
  newFlows: {
    part: 'packets',
    title: 'New UDP flows',
    unit: 'k flows/s',
    digits: 0,
    base: 'plain',
    meaning:
      'The same, every packet a flow never seen before (16 source ports, ever new destinations): session set-up.',
  },
  newPodFlows: {
    part: 'packets',
    title: 'New UDP flows, 200 pods',
    unit: 'k flows/s',
    digits: 0,
    base: 'plain',
    meaning: 'The same from 200 pods in turn, eight source ports of each: every pod has ports and counts of its own.',
  },
  connections: {
    part: 'packets',
    title: 'Short TCP connections',
    unit: 'connections/s',
    digits: 0,
    base: 'plain',
    meaning:
      'Four clients connect to 250 destinations in turn, send and receive one octet, and reset: the whole of set-up, ' +
      'state changes and tear-down, the cost of both end hosts included.',
  },
  connectionCpu: {
    part: 'packets',
    title: 'Processor time a short connection',
    unit: 'µs',
    digits: 1,
    base: 'nat44',
    meaning:
      'Of the whole machine, in the same measurement, client and server and whatever else ran included; the ratio is to ' +
      'nftables NAT44. Lower is better.',
  },
  onePort: {
    part: 'packets',
    title: 'Short TCP connections, one server port',
    unit: 'connections/s',
    digits: 0,
    base: 'nat44',
    meaning:
      'The same to one address and port; the ratio is to nftables NAT44. Those that came about count, and those that ' +
      'did not are in the next row.',
  },
  refused: {
    part: 'packets',
    title: 'Of these, failed',
    unit: 'in a thousand',
    digits: 2,
    base: 'nat44',
    meaning:
      'Connections of that measurement that were refused, reset or not answered within a second. A port of the pod is ' +
      'used again some 0.1 s after its connection was reset. Lower is better.',
  },
  cached: {
    part: 'dns',
    title: 'Cached answers',
    unit: 'k answers/s',
    digits: 1,
    base: 'unbound',
    meaning:
      'AAAA of 1000 names that have A records only, synthesized, all asked for before; dnsperf with 100 questions ' +
      'outstanding on one core, the server on the other.',
  },
  answerCpu: {
    part: 'dns',
    title: 'Processor time an answer',
    unit: 'µs',
    digits: 1,
    base: 'unbound',
    meaning:
      'Of the server process, user and system, in the same measurement; other load on the machine moves it least. ' +
      'Lower is better.',
  },
  miss: {
    part: 'dns',
    title: 'Answer not cached, median',
    unit: 'ms',
    digits: 1,
    base: 'unbound',
    meaning:
      'AAAA of a name never asked for, behind an upstream that answers after 20 ms: 20 ms for who asks for A and AAAA ' +
      'at once, 40 for who asks one after the other. Lower is better.',
  },
  memory: {
    part: 'dns',
    title: 'Resident memory after it',
    unit: 'MiB',
    digits: 0,
    base: 'unbound',
    meaning: 'Of the whole resolver process. Lower is better.',
  },
} as const satisfies Record<string, Figure>;

export type FigureName = keyof typeof FIGURES;
