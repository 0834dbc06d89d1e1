// SPDX-License-Identifier: Apache-2.0
// gate64's DNS half on loopback with a scripted upstream, and a client that keeps octets.

import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { Packet, type Resource } from 'dns2';
import { Destinations, destinationRules, type DestinationPolicy } from '../../../src/addr/destinations.ts';
import { parseIp6Net } from '../../../src/addr/ip.ts';
import { parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import { DnsService, type DnsOptions, type DnsSettings } from '../../../src/dns/dns.ts';
import { KernelAnswers } from '../../../src/kernel-dns/kernel-answers.ts';
import { ScriptedServer } from './scripted-server.ts';

/** §20 V-9's prefix: documentation addresses may stand under it (A6052-3.1-a). */
export const P6 = parsePrefix64('2001:db8:64::/96');

/** What the NAT64 refuses: what is built in, but for `policy`. */
export function destinations(policy: Partial<DestinationPolicy> = {}): Destinations {
  return new Destinations(
    destinationRules({ allowNonGlobalIpv4: [], deny: [], nodeAddresses: [], pool: [], ...policy }),
  );
}

export interface Ask {
  readonly name: string;
  readonly type?: number;
  readonly klass?: number;
  readonly flags?: number;
  /** UDP size of an OPT; none without. */
  readonly opt?: number;
  readonly optTtl?: number;
  readonly options?: Buffer;
}

/** GATE64_LISTENER tries the tables on the wire with Node's own sockets (`dgram`), or with the kernel's answers (`kernel`, root). */
const GIVEN = process.env['GATE64_LISTENER'];
const LISTENER = GIVEN === 'dgram' ? 'dgram' : 'batched';

let lastId = 0;

export function query({ name, type = 28, klass = 1, flags = 0x0100, opt, optTtl = 0, options }: Ask): Buffer {
  const parts: Buffer[] = [];
  const header = Buffer.alloc(12);
  lastId = (lastId + 1) & 0xffff;
  header.writeUInt16BE(lastId, 0);
  header.writeUInt16BE(flags, 2);
  header[5] = 1;
  parts.push(header);
  for (const label of name.split('.').filter((label) => label !== '')) {
    parts.push(Buffer.from([label.length]), Buffer.from(label, 'latin1'));
  }
  const tail = Buffer.alloc(5);
  tail.writeUInt16BE(type, 1);
  tail.writeUInt16BE(klass, 3);
  parts.push(tail);
  if (opt !== undefined) {
    header[11] = 1;
    const rr = Buffer.alloc(11);
    rr.writeUInt16BE(41, 1);
    rr.writeUInt16BE(opt, 3);
    rr.writeUInt32BE(optTtl, 5);
    rr.writeUInt16BE(options?.length ?? 0, 9);
    parts.push(rr, options ?? Buffer.alloc(0));
  }
  return Buffer.concat(parts);
}

/** Sends raw octets; resolves with all datagrams that come back within `waitMs`, at the first unless `all`. */
export function exchangeUdp(
  port: number,
  bytes: Buffer,
  waitMs = 2500,
  all = false,
  host = '127.0.0.1',
): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const got: Buffer[] = [];
    const done = () => {
      clearTimeout(timer);
      socket.close();
      resolve(got);
    };
    const timer = setTimeout(done, waitMs);
    socket.on('error', reject);
    socket.on('message', (message) => {
      got.push(message);
      if (!all) done();
    });
    socket.send(bytes, port, host);
  });
}

/** Sends raw messages over one connection; resolves with as many as were sent, in order of arrival. */
export function exchangeTcp(port: number, messages: readonly Buffer[]): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      for (const bytes of messages) {
        const length = Buffer.alloc(2);
        length.writeUInt16BE(bytes.length);
        socket.write(Buffer.concat([length, bytes]));
      }
    });
    let buffered = Buffer.alloc(0);
    const got: Buffer[] = [];
    socket.setTimeout(3000, () => socket.destroy(new Error('no answer over TCP')));
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      buffered = Buffer.concat([buffered, chunk]);
      while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
        got.push(Buffer.from(buffered.subarray(2, 2 + buffered.readUInt16BE(0))));
        buffered = buffered.subarray(2 + buffered.readUInt16BE(0));
      }
      if (got.length >= messages.length) {
        socket.end();
        resolve(got);
      }
    });
  });
}

export interface Seen {
  readonly bytes: Buffer;
  readonly rcode: number;
  /** "name TYPE ttl data" per answer record. */
  readonly answers: string[];
  readonly authorities: string[];
  readonly additionals: string[];
  readonly flags: number;
  readonly elapsedMs: number;
}

function lines(records: readonly Resource[]): string[] {
  return records.map((record) => {
    const type = Packet.TYPE_NAME[record.type] ?? `TYPE${record.type}`;
    const data = record.address ?? record.domain ?? record.ns ?? record.exchange ?? record.primary ?? '';
    return `${record.name} ${type} ${record.ttl} ${data}`.trimEnd();
  });
}

export function see(bytes: Buffer, elapsedMs = 0): Seen {
  const packet = Packet.parse(bytes);
  const errors = (packet as unknown as { errors?: unknown[] }).errors ?? [];
  if (errors.length > 0) throw new Error(`dns2 cannot read the answer: ${String(errors[0])}`);
  return {
    bytes,
    rcode: packet.header.rcode,
    answers: lines(packet.answers),
    authorities: lines(packet.authorities),
    additionals: lines(packet.additionals),
    flags: bytes.readUInt16BE(2),
    elapsedMs,
  };
}

/** The kernel's clock cannot be put forward: it gives no answers from then on. */
class TestClock {
  readonly #kernel: KernelAnswers | undefined;
  #offsetMs = 0;

  constructor(kernel: KernelAnswers | undefined) {
    this.#kernel = kernel;
  }

  get offsetMs(): number {
    return this.#offsetMs;
  }

  set offsetMs(ms: number) {
    this.#offsetMs = ms;
    this.#kernel?.close();
  }
}

export class Harness {
  readonly upstream: ScriptedServer;
  readonly dns: DnsService;
  readonly port: number;
  /** Added to the cache's clock, milliseconds. */
  readonly clock: TestClock;
  readonly #settings: DnsSettings;

  private constructor(upstream: ScriptedServer, dns: DnsService, clock: TestClock, settings: DnsSettings) {
    this.upstream = upstream;
    this.dns = dns;
    this.clock = clock;
    this.port = dns.listeners[0]?.port ?? 0;
    this.#settings = settings;
  }

  static async start(options: Partial<DnsOptions> = {}, upstream?: ScriptedServer): Promise<Harness> {
    const { now, observer, onSynthesized, log, kernelAfter = 1, ...changes } = options;
    const server = upstream ?? (await ScriptedServer.start());
    const kernel = GIVEN === 'kernel' && now === undefined ? KernelAnswers.open() : undefined;
    const clock = new TestClock(kernel);
    const settings: DnsSettings = {
      prefixes: [P6],
      listen: [{ family: 4, host: '127.0.0.1', port: 0 }],
      listener: LISTENER,
      upstreams: [{ kind: 'plain', endpoint: server.endpoint }],
      translateAll: false,
      excludeAaaa: [parseIp6Net('::ffff:0:0/96')],
      destinations: destinations(),
      cache: { maxEntries: 1000, maxBytes: 2 ** 24 },
      ...changes,
    };
    const shifted = () => performance.now() + clock.offsetMs;
    const others = { observer, onSynthesized, log, kernel, kernelAfter };
    const dns = await DnsService.start({ ...settings, now: now ?? shifted, ...others });
    return new Harness(server, dns, clock, settings);
  }

  /** With what it was started with, but for `changes`. */
  async reload(changes: Partial<DnsSettings> = {}): Promise<void> {
    const { destinations: refused, ...data } = { ...this.#settings, ...changes };
    // As when a file is read again: equal, but nothing is the same object.
    await this.dns.reload({ ...structuredClone(data), destinations: new Destinations(structuredClone(refused.rules)) });
  }

  async ask(ask: Ask): Promise<Seen> {
    const startedAt = performance.now();
    const [bytes] = await exchangeUdp(this.port, query(ask));
    if (bytes === undefined) throw new Error(`no answer for ${ask.name}`);
    return see(bytes, performance.now() - startedAt);
  }

  async stop(): Promise<void> {
    await this.dns.stop();
    await this.upstream.stop();
  }
}
