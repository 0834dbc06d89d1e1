// SPDX-License-Identifier: Apache-2.0
// What the ways to ask an upstream over UDP have in common: a socket connected to it, on a random port of the kernel's.

import type { Endpoint } from '../addr/ip.ts';

/** Answers to a burst of questions come as a burst. */
export const UPSTREAM_BUFFER_OCTETS = 1024 * 1024;

export interface UpstreamSocketEvents {
  /** Our own port and address are there; from within the constructor too. */
  onConnected(port: number, address: string): void;
  /** `bytes` is the hearer's to keep. */
  onMessage(bytes: Buffer): void;
  /** ECONNREFUSED too: a port nobody listens on is noticed at once, without a timeout. Not from within the constructor. */
  onError(error: Error): void;
}

export interface UpstreamSocket {
  send(bytes: Buffer): void;
  /** Once. */
  close(): void;
}

export type OpenUpstreamSocket = (endpoint: Endpoint, events: UpstreamSocketEvents) => UpstreamSocket;
