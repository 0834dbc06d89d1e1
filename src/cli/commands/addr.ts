// SPDX-License-Identifier: Apache-2.0
// `gate64 addr`: an IPv4 address and the IPv6 address that stands for it, either way (RFC 6052 §2.3).

import { Command } from 'commander';
import { formatIp4, formatIp6, formatIp6Net, parseIp4, parseIp6 } from '../../addr/ip.ts';
import { nonGlobalIp4 } from '../../addr/non-global.ts';
import { embedIp4, extractWithAny, type Prefix64 } from '../../addr/rfc6052.ts';
import type { Config } from '../../config/config.ts';
import { Gate64Error } from '../../errors.ts';
import { prefixArgument } from '../arguments.ts';
import { configInForce } from '../config.ts';
import type { CliContext } from '../context.ts';
import { EXIT_PROBLEM, ExitCode } from '../exit.ts';
import { refusal } from '../destination.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { renderPairs } from '../render.ts';

interface AddrOptions extends OutputOptions {
  readonly config?: string;
  readonly prefix?: Prefix64;
}

interface Mapping {
  readonly ipv4: string;
  readonly ipv6: string;
  readonly prefix: string;
  readonly global: boolean;
  /** Why NAT64 does not lead there; null when it does. */
  readonly refused: string | null;
}

export function addrCommand(context: CliContext): Command {
  return new Command('addr')
    .summary('translate an address: IPv4 to embedded IPv6, or back')
    .description('Shows the IPv6 address that an IPv4 address is reached at, or the IPv4 address in an IPv6 one.')
    .argument('<address>', 'an IPv4 or IPv6 address')
    .option('--prefix <prefix>', 'the translation prefix (default: prefix of the configuration)', prefixArgument)
    .option('-c, --config <file>', 'the configuration file')
    .addOption(outputOption())
    .action((text: string, options: AddrOptions) => {
      const { config, refused } = configInForce(options.config, context);
      const prefixes = options.prefix === undefined ? config.prefixes : [options.prefix];
      const mappings = text.includes(':') ? [fromIp6(text, prefixes, config)] : fromIp4(text, prefixes, config);
      emit(context.stdout, options, mappings.length === 1 ? mappings[0] : mappings, () =>
        mappings.map(mappingText).join('\n'),
      );
      if (refused) throw new ExitCode(EXIT_PROBLEM);
    });
}

function fromIp4(text: string, prefixes: readonly Prefix64[], config: Config): Mapping[] {
  const v4 = parseAddress(text, parseIp4);
  return prefixes.map((prefix) => mapping(v4, embedIp4(prefix, v4), prefix, config));
}

function fromIp6(text: string, prefixes: readonly Prefix64[], config: Config): Mapping {
  const v6 = parseAddress(text, parseIp6);
  const found = extractWithAny(prefixes, v6);
  if (found === undefined) {
    const listed = prefixes.map(formatIp6Net).join(', ');
    throw new Gate64Error('G64_ADDRESS_INVALID', `${formatIp6(v6)} holds no IPv4 address under ${listed}`, {
      hint: 'name the prefix it was made with: --prefix PREFIX',
    });
  }
  return mapping(found.v4, v6, found.prefix, config);
}

function parseAddress<T>(text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (cause) {
    throw new Gate64Error('G64_USAGE', `"${text}" is not an IPv4 or IPv6 address`, { cause });
  }
}

function mapping(v4: number, v6: Uint8Array, prefix: Prefix64, config: Config): Mapping {
  return {
    ipv4: formatIp4(v4),
    ipv6: formatIp6(v6),
    prefix: formatIp6Net(prefix),
    global: nonGlobalIp4(v4) === undefined,
    refused: refusal(v4, prefix, config.nat64),
  };
}

function mappingText(row: Mapping): string {
  return renderPairs([
    ['ipv4', row.ipv4],
    ['ipv6', row.ipv6],
    ['prefix', row.prefix],
    ['translated', row.refused === null ? 'yes' : `no: ${row.refused}`],
  ]);
}
