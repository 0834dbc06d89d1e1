// SPDX-License-Identifier: Apache-2.0
// One question to an upstream by each way that gate64 asks by, with EDNS: for who wants to know which of them are answered.

import type { Upstream } from '../config/config.ts';
import { OPT_OCTETS, writeOpt } from './query.ts';
import type { Asked, Asker } from './pending.ts';
import { trusting } from './upstream-tls.ts';
import { StreamChannel } from './upstream-stream.ts';
import { UdpChannel } from './upstream-udp.ts';
import { nameBytes, TYPE } from './wire.ts';

const TIMEOUT_MS = 2000;

/** Undefined: answered, whatever the answer; else why not. */
export interface UpstreamCheck {
  /** Undefined as well for one that is asked over TLS alone. */
  readonly udp: string | undefined;
  /** Over TCP, or TLS. */
  readonly stream: string | undefined;
}

/** `authorities`: PEM, beside the known ones. Takes 2 s at most. */
export async function checkUpstream(upstream: Upstream, authorities: readonly string[] = []): Promise<UpstreamCheck> {
  const isTls = upstream.kind === 'tls';
  const udp = isTls ? undefined : new UdpChannel(upstream.endpoint);
  const stream = new StreamChannel(upstream, isTls ? trusting(authorities) : undefined);
  try {
    const [overUdp, overStream] = await Promise.all([udp === undefined ? undefined : ask(udp), ask(stream)]);
    return { udp: overUdp, stream: overStream };
  } finally {
    udp?.close();
    stream.close();
  }
}

function ask(channel: { ask(query: Buffer, asker: Asker): Asked }): Promise<string | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(`no answer within ${TIMEOUT_MS / 1000} s`), TIMEOUT_MS);
    const done = (reason: string | undefined) => {
      clearTimeout(timer);
      resolve(reason);
    };
    try {
      channel.ask(question(), { onAnswer: () => done(undefined), onError: (error) => done(error.message) });
    } catch (error) {
      done(error instanceof Error ? error.message : String(error));
    }
  });
}

/** RFC 7050: a name that every resolver knows. */
function question(): Buffer {
  const name = nameBytes('ipv4only.arpa');
  const bytes = Buffer.alloc(12 + name.length + 4 + OPT_OCTETS);
  bytes.writeUInt16BE(0x0100, 2);
  bytes.writeUInt16BE(1, 4);
  bytes.writeUInt16BE(1, 10);
  bytes.set(name, 12);
  bytes.writeUInt16BE(TYPE.A, 12 + name.length);
  bytes.writeUInt16BE(1, 14 + name.length);
  writeOpt(bytes, 16 + name.length, 0, false, 0);
  return bytes;
}
