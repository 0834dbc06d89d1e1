// SPDX-License-Identifier: Apache-2.0
// UDP on all addresses of one family: a socket for each, kept up as addresses come and go. One socket on 0.0.0.0 or ::
// would answer from the address that the route to the client prefers, not from the one that was asked: clients drop such
// answers, and behind a Service conntrack does not know them.

import { networkInterfaces } from 'node:os';
import type { Endpoint } from '../addr/ip.ts';
import { UdpListener } from './listener-dgram.ts';
import { listenError, type Listener, type QueryHandler, type SocketShare } from './listener.ts';

const LOOK_MS = 1000;
/** What binding to an address says that is tentative (RFC 4862 §5.4), or gone since it was listed. */
const NOT_NOW = new Set(['EADDRNOTAVAIL', 'EINVAL', 'ENODEV']);

export interface WildcardOptions extends SocketShare {
  /** Where the node's addresses are read. */
  readonly interfaces?: typeof networkInterfaces;
  readonly lookMs?: number;
}

export function isWildcard({ host }: Endpoint): boolean {
  return host === '0.0.0.0' || host === '::';
}

export class WildcardListener implements Listener {
  readonly protocol = 'udp';
  readonly kind = 'dgram';
  readonly endpoint: Endpoint;
  readonly #handler: QueryHandler;
  readonly #interfaces: typeof networkInterfaces;
  readonly #share: SocketShare;
  /** By address and, where it has one, the number of its zone: an interface made anew has another. */
  readonly #sockets = new Map<string, Listener>();
  #looking: Promise<unknown> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(endpoint: Endpoint, handler: QueryHandler, options: WildcardOptions) {
    this.endpoint = endpoint;
    this.#handler = handler;
    this.#interfaces = options.interfaces ?? networkInterfaces;
    this.#share = { reusePort: options.reusePort ?? false };
  }

  /** Port 0 takes one that is free on all addresses. Throws G64_LISTEN. */
  static async start(endpoint: Endpoint, handler: QueryHandler, options: WildcardOptions = {}): Promise<Listener> {
    // The wildcard socket meets whoever has the port on any address, and finds a free one.
    const probe = await UdpListener.start(endpoint, () => false, options);
    await probe.close();
    const listener = new WildcardListener(probe.endpoint, handler, options);
    const errors = await listener.#look();
    if (errors.length > 0) {
      await listener.close();
      throw errors[0] as Error;
    }
    listener.#timer = setInterval(() => listener.#lookAgain(), options.lookMs ?? LOOK_MS).unref();
    return listener;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#looking;
    await Promise.all([...this.#sockets.values()].map((socket) => socket.close()));
    this.#sockets.clear();
  }

  #lookAgain(): void {
    // What fails is tried again at the next look.
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
  }

  /** Gives the errors that waiting does not mend. */
  async #look(): Promise<Error[]> {
    const errors: Error[] = [];
    let wanted: Map<string, string>;
    try {
      wanted = this.#addresses();
    } catch (cause) {
      return [listenError('UDP', this.endpoint, cause)];
    }
    for (const [key, socket] of this.#sockets) {
      if (wanted.has(key)) continue;
      this.#sockets.delete(key);
      await socket.close();
    }
    for (const [key, host] of wanted) {
      if (this.#isClosed) break;
      if (this.#sockets.has(key)) continue;
      try {
        this.#sockets.set(key, await UdpListener.start({ ...this.endpoint, host }, this.#handler, this.#share));
      } catch (error) {
        const { cause } = error as { cause?: NodeJS.ErrnoException };
        if (!NOT_NOW.has(cause?.code ?? '')) errors.push(error as Error);
      }
    }
    return errors;
  }

  /** Key of a socket → address to bind it to. */
  #addresses(): Map<string, string> {
    const found = new Map<string, string>();
    for (const [name, addresses] of Object.entries(this.#interfaces())) {
      for (const one of addresses ?? []) {
        if ((one.family === 'IPv6') !== (this.endpoint.family === 6)) continue;
        // Link-local addresses alone have a zone; several interfaces may share one of the others.
        const zone = one.family === 'IPv6' ? one.scopeid : 0;
        found.set(`${one.address} ${zone}`, zone === 0 ? one.address : `${one.address}%${name}`);
      }
    }
    return found;
  }
}
