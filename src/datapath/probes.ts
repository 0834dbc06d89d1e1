// SPDX-License-Identifier: Apache-2.0
// Probes of silent TCP sessions (RFC 6146 §3.5.2.2): a pod that still has the connection answers, which brings the session
// back. How many a second is bounded here; the sweep (bpf/sweep.h) chooses the sessions.

import { embedIp4 } from '../addr/rfc6052.ts';
import type { Prefix, SessionRecord } from '../model/layout.gen.ts';
import type { FragmentPort } from './fragment-port.ts';
import { probePackets } from './probe-packet.ts';

/** Sessions. */
const PROBES_PER_SECOND = 1000;

export class Probes {
  readonly #port: FragmentPort;
  /** What may be sent at once; more comes with time. */
  #tokens = PROBES_PER_SECOND;
  #filledAt = performance.now();

  constructor(port: FragmentPort) {
    this.#port = port;
  }

  /** How many sessions the sweep may choose: none where no probe could be sent, so that they keep their time. */
  allowed(): number {
    const now = performance.now();
    const grown = ((now - this.#filledAt) / 1000) * PROBES_PER_SECOND;
    this.#tokens = Math.min(PROBES_PER_SECOND, this.#tokens + grown);
    this.#filledAt = now;
    return this.#port.isOpen ? Math.floor(this.#tokens) : 0;
  }

  /** Probes those that the sweep chose. One that is lost is not repeated: the session has TCP_TRANS to be heard of. */
  send(sessions: readonly SessionRecord[], prefixes: readonly Prefix[]): void {
    for (const { key } of sessions) {
      this.#tokens--;
      const prefix = prefixes[key.prefix];
      // The prefix has gone: nothing that the pod answers would be translated.
      if (prefix === undefined || prefix.length === 0) continue;
      const server = embedIp4({ v6: prefix.address, length: prefix.length }, key.dst4);
      const probes = probePackets({ v6: server, port: key.dport }, { v6: key.src, port: key.sport });
      for (const probe of probes) this.#port.deliver(probe);
    }
  }
}
