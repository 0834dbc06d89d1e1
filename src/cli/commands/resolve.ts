// SPDX-License-Identifier: Apache-2.0
// `gate64 resolve`: asks gate64's DNS for a name as a pod would and says which addresses are synthesized (RFC 6147).

import { Command } from 'commander';
import { formatEndpoint, formatIp4, parseIp4, parseIp6, type Endpoint } from '../../addr/ip.ts';
import { extractWithAny, type Prefix64 } from '../../addr/rfc6052.ts';
import type { Config } from '../../config/config.ts';
import { rcodeName } from '../../dns/wire.ts';
import { endpointArgument } from '../arguments.ts';
import { configInForce } from '../config.ts';
import type { CliContext } from '../context.ts';
import { refusal } from '../destination.ts';
import type { LookupAnswer } from '../lookup.ts';
import { defaultServer } from '../default-server.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { renderTable, type Column } from '../render.ts';
import { EXIT_PROBLEM, ExitCode } from '../exit.ts';

interface ResolveOptions extends OutputOptions {
  readonly config?: string;
  readonly server?: Endpoint;
}

interface ResolvedAddress {
  readonly address: string;
  readonly type: 'AAAA' | 'A';
  readonly synthesized: boolean;
  /** The IPv4 address inside a synthesized one. */
  readonly ipv4: string | null;
  readonly ttlSeconds: number;
}

export function resolveCommand(context: CliContext): Command {
  return new Command('resolve')
    .summary("ask gate64's DNS for a name as a pod would")
    .description("Asks gate64's DNS for a name as a pod would, and says which addresses are synthesized.")
    .argument('<name>', 'a domain name')
    .option(
      '--server <address>',
      'the resolver to ask (default: dns.listen; where DNS runs elsewhere that of /etc/resolv.conf)',
      endpointArgument,
    )
    .option('-c, --config <file>', 'the configuration file')
    .addOption(outputOption())
    .action(async (name: string, options: ResolveOptions) => {
      const { config, refused } = configInForce(options.config, context);
      const server = options.server ?? defaultServer(config);
      const [aaaa, a] = await Promise.all([context.lookup(server, name, 'AAAA'), context.lookup(server, name, 'A')]);
      const addresses = [...rows(aaaa, 'AAAA', config.prefixes), ...rows(a, 'A', config.prefixes)];
      const rcode = rcodeName(aaaa.rcode) ?? `RCODE${aaaa.rcode}`;
      const notSynthesized = unsynthesized(aaaa, a, config);
      const json = { name, server: formatEndpoint(server), rcode, addresses, notSynthesized };
      emit(context.stdout, options, json, () => {
        const empty = `${name}: ${rcode === 'NOERROR' ? 'no addresses' : rcode}, says ${formatEndpoint(server)}`;
        const why = notSynthesized.map(({ ipv4, reason }) => `not synthesized: ${ipv4}: ${reason}\n`).join('');
        return renderTable(COLUMNS, addresses, context.stdout, empty) + why;
      });
      if (addresses.length === 0 || refused) throw new ExitCode(EXIT_PROBLEM);
    });
}

function rows(answer: LookupAnswer, type: 'AAAA' | 'A', prefixes: readonly Prefix64[]): ResolvedAddress[] {
  return answer.records.map(({ address, ttlSeconds }) => {
    const found = type === 'AAAA' ? extractWithAny(prefixes, parseIp6(address)) : undefined;
    return {
      address,
      type,
      synthesized: found !== undefined,
      ipv4: found === undefined ? null : formatIp4(found.v4),
      ttlSeconds,
    };
  });
}

/** IPv4 addresses that a pod gets no AAAA for although there is no other, with the reason (RFC 6052 §3.1). */
function unsynthesized(aaaa: LookupAnswer, a: LookupAnswer, config: Config): { ipv4: string; reason: string }[] {
  if (aaaa.records.length > 0) return [];
  const prefix = config.prefixes[0];
  return a.records.flatMap(({ address }) => {
    const reason = prefix === undefined ? null : refusal(parseIp4(address), prefix, config.nat64);
    return reason === null ? [] : [{ ipv4: address, reason }];
  });
}

const COLUMNS: readonly Column<ResolvedAddress>[] = [
  { title: 'TYPE', text: (row) => row.type },
  { title: 'ADDRESS', text: (row) => row.address },
  { title: 'STANDS FOR', text: (row) => row.ipv4 ?? '-' },
  { title: 'TTL', text: (row) => String(row.ttlSeconds), align: 'right' },
];
