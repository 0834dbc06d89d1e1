// SPDX-License-Identifier: Apache-2.0
// `gate64 monitor`: drops, sessions that begin and end, leases, as the programs tell them; they choose what was asked for.

import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { formatIp6, type Ip4Net, type Ip6Net } from '../../addr/ip.ts';
import type { WatchEvent, WatchFilter, WatchKind } from '../../datapath/watch.ts';
import { Gate64Error } from '../../errors.ts';
import { PROTOCOLS, type Protocol } from '../../model/binding.ts';
import { DROP_REASONS, type DropReason } from '../../model/drops.gen.ts';
import { bytesText } from '../../model/words.ts';
import { packetText } from '../../nat64/views.ts';
import { durationArgument, ip4NetArgument, ip6NetArgument } from '../arguments.ts';
import type { CliContext } from '../context.ts';
import { emitLine, outputOption, type OutputOptions } from '../output.ts';
import { isoTime } from '../render.ts';
import { blockJson, namedSession, sessionJson, text4, text6 } from '../rows.ts';

interface MonitorOptions extends OutputOptions {
  readonly drops?: boolean;
  readonly sessions?: boolean;
  readonly leases?: boolean;
  readonly pod?: Ip6Net;
  readonly dst?: Ip4Net;
  readonly reason?: DropReason;
  readonly proto?: Protocol;
  /** Seconds. */
  readonly for?: number;
}

const INTERVAL_MS = 1000;

export function monitorCommand(context: CliContext): Command {
  return new Command('monitor')
    .summary('follow drops, sessions and leases until stopped')
    .description(
      'Prints a line for each packet that is dropped, each session that begins or ends, and each block of ports that a pod ' +
        'takes. One monitor a node; what it cannot keep up with is counted and said.',
    )
    .option('--drops', 'drops (default: drops, sessions and leases)')
    .option('--sessions', 'sessions that begin and end')
    .option('--leases', 'blocks of ports that pods take')
    .option('--pod <cidr>', "the pod's IPv6 address or network", ip6NetArgument)
    .option('--dst <cidr>', 'the IPv4 destination, address or network; no leases', ip4NetArgument)
    .addOption(new Option('--reason <reason>', 'drops for this reason alone').choices(DROP_REASONS))
    .addOption(new Option('--proto <protocol>', 'the protocol; no leases').choices(PROTOCOLS))
    .option('--for <duration>', 'end after 30s, 5m, 1h …', durationArgument)
    .addOption(outputOption())
    .action(async (options: MonitorOptions) => {
      using watch = await context.openWatch(filterOf(options), (events) => {
        for (const event of events) print(event, options, context);
      });
      for (let i = 0; i < (options.for ?? Infinity) && !context.signal.aborted; i++) {
        await sleep(INTERVAL_MS, undefined, { signal: context.signal }).catch(() => undefined);
        const count = watch.renew();
        if (count === 0) continue;
        const at = isoTime(context.now());
        emitLine(context.stdout, options, { at, type: 'lost', count }, () => {
          return `${at}  lost   ${count} events came faster than they were read; ask for fewer, as with --pod`;
        });
      }
    });
}

function filterOf({ drops, sessions, leases, pod, dst, reason, proto }: MonitorOptions): WatchFilter {
  const all = !drops && !sessions && !leases;
  const isOfFlows = dst !== undefined || proto !== undefined;
  if (leases && isOfFlows) throw new Gate64Error('G64_USAGE', 'leases have no destination and no protocol');
  if (reason !== undefined && (sessions || leases)) {
    throw new Gate64Error('G64_USAGE', '--reason is about drops alone');
  }
  const kinds: WatchKind[] = [];
  if (all || drops) kinds.push('drop');
  if (sessions || (all && reason === undefined)) kinds.push('begin', 'end');
  if (leases || (all && reason === undefined && !isOfFlows)) kinds.push('lease');
  return {
    kinds,
    ...(pod === undefined ? {} : { pod }),
    ...(dst === undefined ? {} : { destination: dst }),
    ...(reason === undefined ? {} : { reason }),
    ...(proto === undefined ? {} : { protocol: proto }),
  };
}

/** Everything in an event is a number or an address, so that no text of somebody else's gets to the terminal. */
function print(event: WatchEvent, options: MonitorOptions, context: CliContext): void {
  const at = isoTime(event.at);
  const line = (json: object, text: string) => {
    emitLine(
      context.stdout,
      options,
      { at, type: event.kind, ...json },
      () => `${at}  ${event.kind.padEnd(5)}  ${text}`,
    );
  };
  switch (event.kind) {
    case 'drop': {
      const { reason, direction } = event;
      const { at: _, ...packet } = event.packet;
      const what = `${packetText(event.packet)}  ${packet.length} bytes`;
      line({ reason, direction, packet }, `${reason} ${direction}  ${what}`);
      return;
    }
    case 'begin':
    case 'end': {
      const { session } = event;
      const { protocol, source, destination, pool, packetsOut, bytesOut, packetsIn, bytesIn } = session;
      const { name: _, nameGuessed: __, ...json } = sessionJson(namedSession(session, undefined, event.at), event.at);
      const carried =
        event.kind === 'begin'
          ? ''
          : `  ${session.state}  out ${packetsOut} packets ${bytesText(bytesOut)}  in ${packetsIn} packets ${bytesText(bytesIn)}`;
      line({ session: json }, `${protocol} ${text6(source)} -> ${text4(destination)} as ${text4(pool)}${carried}`);
      return;
    }
    case 'lease': {
      const { row, block } = event;
      const holder = formatIp6(event.holder);
      const json = row === undefined ? undefined : blockJson(row);
      const ports = json === undefined ? '' : `  ${json.address}:${json.firstPort}-${json.lastPort}`;
      const { address = null, firstPort = null, lastPort = null } = json ?? {};
      line({ holder, block, address, firstPort, lastPort }, `${holder}  block ${block}${ports}`);
    }
  }
}
