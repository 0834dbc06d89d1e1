// SPDX-License-Identifier: Apache-2.0
// Made by `make types` from the BTF of .output/dns.bpf.o; not edited by hand.

// Offsets and sizes are the compiler's. Padding is written as zero, since map keys are compared whole.
// Fields that the programs hold in network order are plain numbers here.

import { bytes, clear, repeat, setBytes } from './codecs.ts';

export const DNS_NAME_OCTETS = 128;
export const DNS_TAIL_OCTETS = 512;
export const DNS_MAX_TTLS = 16;
export const DNS_PORTS = 8;

export const DNS_COUNT = {
  DNS_ANSWERED: 0,
  DNS_PASSED: 1,
  DNS_COUNTS: 2,
} as const;

export interface DnsQuestion {
  readonly name: Uint8Array;
  readonly type: number;
  readonly flags: number;
  readonly nameOctets: number;
  readonly opt: number;
}

export const dnsQuestionCodec = {
  size: 136,
  read(view: DataView, offset: number): DnsQuestion {
    return {
      name: bytes(view, offset, 128),
      type: view.getUint16(offset + 128, false),
      flags: view.getUint16(offset + 130, false),
      nameOctets: view.getUint8(offset + 132),
      opt: view.getUint8(offset + 133),
    };
  },
  write(view: DataView, offset: number, value: DnsQuestion): void {
    clear(view, offset, 136);
    setBytes(view, offset, value.name, 128);
    view.setUint16(offset + 128, value.type, false);
    view.setUint16(offset + 130, value.flags, false);
    view.setUint8(offset + 132, value.nameOctets);
    view.setUint8(offset + 133, value.opt);
  },
};

export interface DnsAnswer {
  readonly storedNs: bigint;
  readonly expiresNs: bigint;
  readonly id: number;
  readonly generation: number;
  readonly flags: number;
  readonly answers: number;
  readonly authorities: number;
  readonly additionals: number;
  readonly tailOctets: number;
  readonly ttlCount: number;
  readonly ttlAt: readonly number[];
  readonly ttl: readonly number[];
  readonly tail: Uint8Array;
}

export const dnsAnswerCodec = {
  size: 648,
  read(view: DataView, offset: number): DnsAnswer {
    return {
      storedNs: view.getBigUint64(offset, true),
      expiresNs: view.getBigUint64(offset + 8, true),
      id: view.getUint32(offset + 16, true),
      generation: view.getUint32(offset + 20, true),
      flags: view.getUint16(offset + 24, false),
      answers: view.getUint16(offset + 26, false),
      authorities: view.getUint16(offset + 28, false),
      additionals: view.getUint16(offset + 30, false),
      tailOctets: view.getUint16(offset + 32, true),
      ttlCount: view.getUint16(offset + 34, true),
      ttlAt: repeat(16, (i) => view.getUint16(offset + 36 + 2 * i, true)),
      ttl: repeat(16, (i) => view.getUint32(offset + 68 + 4 * i, true)),
      tail: bytes(view, offset + 136, 512),
    };
  },
  write(view: DataView, offset: number, value: DnsAnswer): void {
    clear(view, offset, 648);
    view.setBigUint64(offset, value.storedNs, true);
    view.setBigUint64(offset + 8, value.expiresNs, true);
    view.setUint32(offset + 16, value.id, true);
    view.setUint32(offset + 20, value.generation, true);
    view.setUint16(offset + 24, value.flags, false);
    view.setUint16(offset + 26, value.answers, false);
    view.setUint16(offset + 28, value.authorities, false);
    view.setUint16(offset + 30, value.additionals, false);
    view.setUint16(offset + 32, value.tailOctets, true);
    view.setUint16(offset + 34, value.ttlCount, true);
    value.ttlAt.forEach((element, i) => view.setUint16(offset + 36 + 2 * i, element, true));
    value.ttl.forEach((element, i) => view.setUint32(offset + 68 + 4 * i, element, true));
    setBytes(view, offset + 136, value.tail, 512);
  },
};

export interface DnsTold {
  readonly client: Uint8Array;
  readonly asked: Uint8Array;
  readonly ifindex: number;
  readonly answer: number;
  readonly port: number;
}

export const dnsToldCodec = {
  size: 44,
  read(view: DataView, offset: number): DnsTold {
    return {
      client: bytes(view, offset, 16),
      asked: bytes(view, offset + 16, 16),
      ifindex: view.getUint32(offset + 32, true),
      answer: view.getUint32(offset + 36, true),
      port: view.getUint16(offset + 40, false),
    };
  },
  write(view: DataView, offset: number, value: DnsTold): void {
    clear(view, offset, 44);
    setBytes(view, offset, value.client, 16);
    setBytes(view, offset + 16, value.asked, 16);
    view.setUint32(offset + 32, value.ifindex, true);
    view.setUint32(offset + 36, value.answer, true);
    view.setUint16(offset + 40, value.port, false);
  },
};

export interface DnsState {
  readonly generation: number;
  readonly maxOctets: number;
  readonly ports: readonly number[];
}

export const dnsStateCodec = {
  size: 24,
  read(view: DataView, offset: number): DnsState {
    return {
      generation: view.getUint32(offset, true),
      maxOctets: view.getUint32(offset + 4, true),
      ports: repeat(8, (i) => view.getUint16(offset + 8 + 2 * i, false)),
    };
  },
  write(view: DataView, offset: number, value: DnsState): void {
    clear(view, offset, 24);
    view.setUint32(offset, value.generation, true);
    view.setUint32(offset + 4, value.maxOctets, true);
    value.ports.forEach((element, i) => view.setUint16(offset + 8 + 2 * i, element, false));
  },
};
