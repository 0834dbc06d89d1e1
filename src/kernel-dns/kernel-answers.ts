// SPDX-License-Identifier: Apache-2.0
// Answers that the kernel gives: dns.bpf.o, what is in its maps, where it hangs. All of it goes with this process.

import { BpfObject, LibbpfError, TcxLink, TypedMap, ifIndexToName, isTcxSupported } from '../libbpf/mod.ts';
import { builtObject } from '../model/built-object.ts';
import { u32Codec, u64Codec, u8Codec } from '../model/codecs.ts';
import {
  DNS_COUNT,
  DNS_MAX_TTLS,
  DNS_PORTS,
  DNS_TAIL_OCTETS,
  dnsAnswerCodec,
  dnsQuestionCodec,
  dnsStateCodec,
  dnsToldCodec,
  type DnsAnswer,
  type DnsQuestion,
  type DnsState,
  type DnsTold,
} from '../model/dns-layout.gen.ts';

/** Interfaces that it hangs on, at most. */
const MAX_INTERFACES = 16;

/** A question, and the octets that answer it. Times are of CLOCK_MONOTONIC, in nanoseconds. */
export interface KernelAnswer {
  readonly question: DnsQuestion;
  /** Of the answer's header. */
  readonly flags: number;
  readonly answers: number;
  readonly authorities: number;
  readonly additionals: number;
  /** What follows the question: DNS_TAIL_OCTETS at most, with DNS_MAX_TTLS TTLs at most. */
  readonly tail: Uint8Array;
  /** Where TTLs stand in `tail`, and their seconds at `storedNs`. */
  readonly ttls: readonly { readonly at: number; readonly seconds: number }[];
  readonly storedNs: bigint;
  readonly expiresNs: bigint;
}

/** A client of an answer: 16 octets each, IPv4 as ::ffff:a.b.c.d. */
export interface KernelClient {
  readonly client: Uint8Array;
  readonly asked: Uint8Array;
  readonly port: number;
  readonly ifindex: number;
}

export interface KernelCounts {
  /** Given by the kernel. */
  readonly answered: number;
  /** Known to it, and left to user space all the same. */
  readonly passed: number;
}

export class KernelAnswers implements Disposable {
  readonly #object: BpfObject;
  readonly #answers: TypedMap<DnsQuestion, DnsAnswer>;
  readonly #told: TypedMap<DnsTold, number>;
  readonly #state: TypedMap<number, DnsState>;
  readonly #counts: TypedMap<number, bigint>;
  readonly #links = new Map<number, TcxLink>();
  /** Of what is in the kernel, by number: when it ends there. */
  readonly #live = new Map<number, { readonly question: DnsQuestion; readonly expiresNs: bigint }>();
  /** By the octets of the question: there is one answer to it. */
  readonly #ids = new Map<string, number>();
  #lastId = 0;
  #generation = 1;
  #ports: readonly number[] = [];
  #maxOctets = 0;
  #isClosed = false;

  private constructor(object: BpfObject) {
    this.#object = object;
    this.#answers = new TypedMap(object.map('n64_dns_answers'), dnsQuestionCodec, dnsAnswerCodec);
    this.#told = new TypedMap(object.map('n64_dns_told'), dnsToldCodec, u8Codec);
    this.#state = new TypedMap(object.map('n64_dns_state'), u32Codec, dnsStateCodec);
    this.#counts = new TypedMap(object.map('n64_dns_counts'), u32Codec, u64Codec);
    this.#writeState();
  }

  /** Throws LibbpfError: rights are missing (`EPERM`), the kernel is older than 6.6 (`LIBBPF_UNSUPPORTED`). */
  static open(objectPath = builtObject('dns.bpf.o')): KernelAnswers {
    // A clsact filter would stay on the interface when this process is killed; a link goes with it.
    if (!isTcxSupported()) throw new LibbpfError('LIBBPF_UNSUPPORTED', 'TCX links need Linux 6.6');
    const object = BpfObject.open(objectPath);
    try {
      object.load();
      return new KernelAnswers(object);
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /** For test runs. */
  get program(): ReturnType<BpfObject['program']> {
    return this.#object.program('n64_dns');
  }

  get size(): number {
    return this.#live.size;
  }

  has(id: number): boolean {
    return this.#live.has(id);
  }

  /** Names of those that it hangs on. */
  get interfaces(): readonly string[] {
    return [...this.#links.keys()].map((ifindex) => ifIndexToName(ifindex) ?? `${ifindex}`);
  }

  counts(): KernelCounts {
    const sum = (index: number) => (this.#counts.lookupPerCpu(index) ?? []).reduce((a, b) => a + Number(b), 0);
    return { answered: sum(DNS_COUNT.DNS_ANSWERED), passed: sum(DNS_COUNT.DNS_PASSED) };
  }

  /** Which ports are asked, the first eight of them, and how long an answer over UDP may be. */
  configure(ports: readonly number[], maxOctets: number): void {
    this.#ports = ports.slice(0, DNS_PORTS);
    this.#maxOctets = maxOctets;
    this.flush();
  }

  /** The answer's number, for tell(); undefined when there is no room, or it is longer than fits. */
  put(answer: KernelAnswer): number | undefined {
    const { question, tail, ttls } = answer;
    if (tail.length > DNS_TAIL_OCTETS || ttls.length > DNS_MAX_TTLS) return undefined;
    const id = (this.#lastId = (this.#lastId % 0xffff_ffff) + 1);
    const padded = new Uint8Array(DNS_TAIL_OCTETS);
    padded.set(tail);
    const room = <T>(values: readonly T[], none: T) =>
      Array.from({ length: DNS_MAX_TTLS }, (_, i) => values[i] ?? none);
    try {
      this.#answers.update(question, {
        storedNs: answer.storedNs,
        expiresNs: answer.expiresNs,
        id,
        generation: this.#generation,
        flags: answer.flags,
        answers: answer.answers,
        authorities: answer.authorities,
        additionals: answer.additionals,
        tailOctets: tail.length,
        ttlCount: ttls.length,
        ttlAt: room(
          ttls.map(({ at }) => at),
          0,
        ),
        ttl: room(
          ttls.map(({ seconds }) => seconds),
          0,
        ),
        tail: padded,
      });
    } catch (error) {
      if (error instanceof LibbpfError && error.code === 'E2BIG') return undefined;
      throw error;
    }
    const octets = octetsOf(question);
    const before = this.#ids.get(octets);
    if (before !== undefined) this.#live.delete(before);
    this.#ids.set(octets, id);
    this.#live.set(id, { question, expiresNs: answer.expiresNs });
    return id;
  }

  /** From now on the kernel gives this client the answer, where the program hangs or can be hung. */
  tell(client: KernelClient, id: number): void {
    if (!this.#hang(client.ifindex)) return;
    this.#told.update({ ...client, answer: id }, 1);
  }

  /** No answer from before is given any more. */
  flush(): void {
    this.#generation = (this.#generation + 1) >>> 0;
    this.#writeState();
    for (const [id, { question }] of this.#live) this.#remove(id, question);
  }

  /** Takes out what is over, and forgets interfaces that are gone. */
  tidy(nowNs: bigint): void {
    for (const [id, { question, expiresNs }] of this.#live) if (expiresNs <= nowNs) this.#remove(id, question);
    for (const [ifindex, link] of this.#links) {
      if (link.info().ifindex === ifindex) continue;
      link.close();
      this.#links.delete(ifindex);
    }
  }

  /** What is done after it fails with LIBBPF_STATE; closing again is nothing. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
    this.#object.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #remove(id: number, question: DnsQuestion): void {
    this.#live.delete(id);
    this.#ids.delete(octetsOf(question));
    this.#answers.delete(question);
  }

  #hang(ifindex: number): boolean {
    if (this.#links.has(ifindex)) return true;
    if (this.#links.size >= MAX_INTERFACES) return false;
    try {
      this.#links.set(ifindex, TcxLink.attach(this.program, ifindex, 'ingress'));
      return true;
    } catch (error) {
      // It went in the meantime.
      if (error instanceof LibbpfError && error.code === 'ENODEV') return false;
      throw error;
    }
  }

  #writeState(): void {
    const ports = Array.from({ length: DNS_PORTS }, (_, i) => this.#ports[i] ?? 0);
    this.#state.update(0, { generation: this.#generation, maxOctets: this.#maxOctets, ports });
  }
}

function octetsOf(question: DnsQuestion): string {
  const octets = Buffer.alloc(dnsQuestionCodec.size);
  dnsQuestionCodec.write(new DataView(octets.buffer, octets.byteOffset, octets.length), 0, question);
  return octets.toString('latin1');
}
