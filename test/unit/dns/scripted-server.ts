// SPDX-License-Identifier: Apache-2.0
// A DNS server on loopback whose answers a test writes down: the upstream of the tests, over UDP and TCP. Messages are
// written by dns2, so that ours are read from and compared with somebody else's encoder.

import { createSocket, type Socket } from 'node:dgram';
import { createServer, type Server, type Socket as TcpSocket } from 'node:net';
import { Packet } from 'dns2';
import type { Endpoint } from '../../../src/addr/ip.ts';

export interface Rr {
  readonly name: string;
  readonly type: number;
  readonly ttl: number;
  readonly [field: string]: unknown;
}

export interface Script {
  readonly rcode?: number;
  readonly answers?: readonly Rr[];
  readonly authorities?: readonly Rr[];
  readonly additionals?: readonly Rr[];
  readonly ad?: boolean;
  readonly tc?: boolean;
  /** No answer at all. */
  readonly mute?: boolean;
  readonly delayMs?: number;
  /** The octets to send instead, one datagram each; the ID is the query's unless `raw` sets it. */
  readonly raw?: (query: Buffer) => readonly Buffer[];
}

export interface Asked {
  readonly name: string;
  readonly type: number;
  readonly transport: 'udp' | 'tcp';
  readonly query: Buffer;
}

export const T = { A: 1, NS: 2, CNAME: 5, SOA: 6, PTR: 12, MX: 15, TXT: 16, AAAA: 28, DNAME: 39, DS: 43, RRSIG: 46 };

export const rr = {
  a: (name: string, address: string, ttl = 300): Rr => ({ name, type: T.A, class: 1, ttl, address }),
  aaaa: (name: string, address: string, ttl = 300): Rr => ({ name, type: T.AAAA, class: 1, ttl, address }),
  cname: (name: string, domain: string, ttl = 300): Rr => ({ name, type: T.CNAME, class: 1, ttl, domain }),
  ptr: (name: string, domain: string, ttl = 300): Rr => ({ name, type: T.PTR, class: 1, ttl, domain }),
  ns: (name: string, ns: string, ttl = 300): Rr => ({ name, type: T.NS, class: 1, ttl, ns }),
  mx: (name: string, exchange: string, ttl = 300): Rr => ({
    name,
    type: T.MX,
    class: 1,
    ttl,
    priority: 10,
    exchange,
  }),
  soa: (name: string, ttl: number, minimum = ttl): Rr => ({
    name,
    type: T.SOA,
    class: 1,
    ttl,
    primary: `ns.${name}`,
    admin: `admin.${name}`,
    serial: 1,
    refresh: 3600,
    retry: 600,
    expiration: 86400,
    minimum,
  }),
  raw: (name: string, type: number, data: Buffer, ttl = 300): Rr => ({ name, type, class: 1, ttl, data }),
  opt: (size: number, options: Buffer): Rr => ({ name: '', type: 41, class: size, ttl: 0, data: options }),
};

export function typeName(type: number): string {
  return Packet.TYPE_NAME[type] ?? `TYPE${type}`;
}

/** Encodes a script as the answer to `query`, by dns2. */
export function encode(query: Buffer, script: Script): Buffer {
  const request = Packet.parse(query);
  const packet = Packet.createResponseFromRequest(request);
  packet.header.ra = 1;
  packet.header.rcode = script.rcode ?? 0;
  packet.header.tc = script.tc ? 1 : 0;
  packet.answers = [...(script.answers ?? [])] as unknown as typeof packet.answers;
  packet.authorities = [...(script.authorities ?? [])] as unknown as typeof packet.authorities;
  packet.additionals = [...(script.additionals ?? [])] as unknown as typeof packet.additionals;
  const bytes = packet.toBuffer();
  if (script.ad) bytes[3] = (bytes[3] as number) | 0x20;
  return bytes;
}

export class ScriptedServer {
  readonly asked: Asked[] = [];
  readonly #scripts = new Map<string, Script>();
  readonly #udp: Socket;
  readonly #tcp: Server;
  readonly #connections = new Set<TcpSocket>();
  fallback: Script = { rcode: 3 };
  /** Hears the port that a question came from over UDP. */
  onQuestion: (port: number) => void = () => {};
  /** TCP connections that were made to it. */
  accepted = 0;

  private constructor(udp: Socket, tcp: Server) {
    this.#udp = udp;
    this.#tcp = tcp;
    udp.on('message', (query, from) => {
      this.onQuestion(from.port);
      this.#answer(query, 'udp', (bytes) => udp.send(bytes, from.port, from.address));
    });
    tcp.on('connection', (socket) => {
      this.accepted++;
      this.#connections.add(socket);
      socket.on('close', () => this.#connections.delete(socket));
      socket.on('error', () => socket.destroy());
      let buffered = Buffer.alloc(0);
      socket.on('data', (chunk: Buffer) => {
        buffered = Buffer.concat([buffered, chunk]);
        while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
          const end = 2 + buffered.readUInt16BE(0);
          const query = buffered.subarray(2, end);
          buffered = buffered.subarray(end);
          this.#answer(query, 'tcp', (bytes) => {
            const length = Buffer.alloc(2);
            length.writeUInt16BE(bytes.length);
            socket.write(Buffer.concat([length, bytes]));
          });
        }
      });
    });
  }

  static async start(): Promise<ScriptedServer> {
    for (let attempt = 0; ; attempt++) {
      const udp = createSocket({ type: 'udp4', recvBufferSize: 4 * 1024 * 1024 });
      await new Promise<void>((done) => udp.bind(0, '127.0.0.1', done));
      const tcp = createServer();
      try {
        await new Promise<void>((done, fail) => {
          tcp.once('error', fail);
          tcp.listen(udp.address().port, '127.0.0.1', done);
        });
        return new ScriptedServer(udp, tcp);
      } catch (error) {
        udp.close();
        if (attempt > 5) throw error;
      }
    }
  }

  get endpoint(): Endpoint {
    return { family: 4, host: '127.0.0.1', port: this.#udp.address().port };
  }

  /** `type` "*" stands for all types without a line of their own. */
  on(name: string, type: number | '*', script: Script): this {
    this.#scripts.set(`${name.toLowerCase()} ${type}`, script);
    return this;
  }

  questions(): string[] {
    return this.asked.map(({ name, type }) => `${name} ${typeName(type)}`);
  }

  count(name: string, type: number): number {
    return this.asked.filter((one) => one.name === name && one.type === type).length;
  }

  #answer(query: Buffer, transport: 'udp' | 'tcp', send: (bytes: Buffer) => void): void {
    const question = Packet.parse(query).questions[0];
    if (question === undefined) return;
    const name = question.name.toLowerCase();
    this.asked.push({ name, type: question.type, transport, query: Buffer.from(query) });
    const script =
      this.#scripts.get(`${name} ${question.type} ${transport}`) ??
      this.#scripts.get(`${name} ${question.type}`) ??
      this.#scripts.get(`${name} *`) ??
      this.fallback;
    if (script.mute) return;
    const bytes = script.raw ? script.raw(query) : [encode(query, script)];
    const go = () => bytes.forEach(send);
    if (script.delayMs) setTimeout(go, script.delayMs).unref();
    else go();
  }

  /** For one transport only, over the line for both. */
  onTransport(name: string, type: number, transport: 'udp' | 'tcp', script: Script): this {
    this.#scripts.set(`${name.toLowerCase()} ${type} ${transport}`, script);
    return this;
  }

  async stop(): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    await Promise.all([
      new Promise<void>((done) => this.#udp.close(done)),
      new Promise<void>((done) => this.#tcp.close(() => done())),
    ]);
  }
}
