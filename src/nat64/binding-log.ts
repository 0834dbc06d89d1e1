// SPDX-License-Identifier: Apache-2.0
// The binding log: who had which ports of which pool address from when to when, for those who have to answer for it (RFC
// 6888 §4). A line when a block of ports or a static binding begins, one when it ends, none per session, and no destination
// (RFC 6888 REQ-12, REQ-14). Each file begins with what is held then.

import { formatIp4, formatIp6 } from '../addr/ip.ts';
import type { Datapath } from '../datapath/datapath.ts';
import type { StaticBinding } from '../model/binding.ts';
import type { PoolBlock } from '../plan/blocks.ts';
import { AppendFile } from '../telemetry/append-file.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';
import { formatStaticBinding } from './static-bindings.ts';

/** As configured. */
export interface BindingLogSettings {
  /** Empty: no log. */
  readonly bindingLog: string;
  readonly podPrefixLength: number;
}

export interface BindingLogOptions {
  readonly log: Log;
  readonly clock: Clock;
}

/** As in the file; times are ISO 8601. */
type Held = Readonly<Record<string, string | number | null>> & { readonly from: string | null };

export class BindingLog {
  readonly #options: BindingLogOptions;
  readonly #held = new Map<string, Held>();
  #podPrefixLength = 128;
  #file: AppendFile | undefined;

  constructor(options: BindingLogOptions) {
    this.#options = options;
  }

  /** Makes the log what `settings` say. One that begins starts with what `datapath` has. */
  configure(
    { bindingLog: path, podPrefixLength }: BindingLogSettings,
    datapath: Pick<Datapath, 'blocks' | 'staticBindings' | 'staticSince'>,
  ): void {
    this.#podPrefixLength = podPrefixLength;
    if (path === (this.#file?.path ?? '')) return;
    void this.#file?.stop();
    this.#file = undefined;
    this.#held.clear();
    if (path === '') return;
    for (const row of datapath.blocks()) {
      if (row.state === 'leased' && row.holder !== undefined) this.#holdBlock(row, row.holder, row.since);
    }
    for (const binding of datapath.staticBindings()) {
      this.#held.set(formatStaticBinding(binding), staticRecord(binding, datapath.staticSince(binding)));
    }
    const { log } = this.#options;
    this.#file = new AppendFile({
      path,
      log,
      head: () => [
        this.#line('opened', { held: this.#held.size }),
        ...[...this.#held.values()].map((held) => this.#line('held', { ...held, to: null })),
      ],
      gap: (lines) => this.#line('lost', { lines }),
    });
  }

  /** Goes on in the file that the path leads to now, which somebody may have made anew. */
  reopen(): void {
    this.#file?.reopen();
  }

  /** `at`: milliseconds since the epoch, as below. */
  blockLeased(block: PoolBlock, pod: Uint8Array, at: number | undefined): void {
    if (this.#file === undefined || this.#held.has(blockName(block, pod))) return;
    this.#file.write(this.#line('began', { ...this.#holdBlock(block, pod, at), to: null }));
  }

  blockReturned(block: PoolBlock, pod: Uint8Array, from: number | undefined, to: number): void {
    if (this.#file === undefined) return;
    const name = blockName(block, pod);
    const held = this.#held.get(name) ?? this.#blockRecord(block, pod, from);
    this.#held.delete(name);
    this.#file.write(this.#line('ended', { ...held, to: iso(to) }));
  }

  staticAdded(binding: StaticBinding): void {
    if (this.#file === undefined) return;
    const held = staticRecord(binding, this.#options.clock.wall());
    this.#held.set(formatStaticBinding(binding), held);
    this.#file.write(this.#line('began', { ...held, to: null }));
  }

  staticRemoved(binding: StaticBinding): void {
    if (this.#file === undefined) return;
    const name = formatStaticBinding(binding);
    const held = this.#held.get(name) ?? staticRecord(binding, undefined);
    this.#held.delete(name);
    this.#file.write(this.#line('ended', { ...held, to: iso(this.#options.clock.wall()) }));
  }

  /** What is held stays held: the data plane goes on. */
  async stop(): Promise<void> {
    await this.#file?.stop();
    this.#file = undefined;
  }

  #holdBlock(block: PoolBlock, pod: Uint8Array, from: number | undefined): Held {
    const held = this.#blockRecord(block, pod, from);
    this.#held.set(blockName(block, pod), held);
    return held;
  }

  #blockRecord({ v4, firstPort, size }: PoolBlock, pod: Uint8Array, from: number | undefined): Held {
    const length = this.#podPrefixLength;
    const name = formatIp6(pod);
    return {
      kind: 'block',
      pod: length === 128 ? name : `${name}/${length}`,
      address: formatIp4(v4),
      firstPort,
      lastPort: firstPort + size - 1,
      from: iso(from),
    };
  }

  #line(event: string, more: object): string {
    return JSON.stringify({ at: iso(this.#options.clock.wall()), event, ...more });
  }
}

function staticRecord({ protocol, source, pool }: StaticBinding, from: number | undefined): Held {
  return {
    kind: 'static',
    protocol,
    pod: formatIp6(source.v6),
    podPort: source.port,
    address: formatIp4(pool.v4),
    firstPort: pool.port,
    lastPort: pool.port,
    from: iso(from),
  };
}

function blockName({ v4, firstPort, size }: PoolBlock, pod: Uint8Array): string {
  return `${v4} ${firstPort} ${size} ${Buffer.from(pod).toString('hex')}`;
}

function iso(at: number | undefined): string | null {
  return at === undefined ? null : new Date(at).toISOString();
}
