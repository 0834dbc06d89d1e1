// SPDX-License-Identifier: Apache-2.0
// `gate64 import`: a gate64.yaml out of what CoreDNS, Jool, Tayga, unbound or BIND have.

import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { Gate64Error } from '../../errors.ts';
import { importTexts, type ForeignText } from '../../import/import.ts';
import { KINDS, type Kind } from '../../import/reading.ts';
import { recognise } from '../../import/recognise.ts';
import { formatNote } from '../../import/write.ts';
import type { CliContext } from '../context.ts';
import { EXIT_PROBLEM, ExitCode } from '../exit.ts';

interface ImportOptions {
  readonly kind?: Kind;
  readonly output?: string;
  readonly force?: boolean;
}

const MAX_FILES = 16;
const MAX_OCTETS = 1024 * 1024;

export function importCommand(context: CliContext): Command {
  return new Command('import')
    .summary('make a configuration out of that of other software')
    .description(
      'Reads a Corefile, Jool JSON, tayga.conf, unbound.conf or named.conf and prints a gate64.yaml. What has no counterpart stands in it as a comment; exit 1 if something of it matters.',
    )
    .argument('<file...>', 'one file, or several that become one configuration')
    .addOption(new Option('--kind <kind>', 'what the files are (default: seen by their content)').choices(KINDS))
    .option('--output <file>', 'write there instead of printing')
    .option('--force', 'overwrite the file of --output')
    .action((files: readonly string[], options: ImportOptions) => {
      if (files.length > MAX_FILES) throw new Gate64Error('G64_USAGE', `more than ${MAX_FILES} files`);
      const { text, notes } = importTexts(files.map((file) => foreignText(file, options.kind)));
      if (options.output === undefined) context.stdout.write(text);
      else writeOutput(options.output, text, options.force === true);
      const lost = notes.filter(({ matters }) => matters);
      for (const note of lost) context.stderr.write(`${formatNote(note)}\n`);
      if (lost.length > 0) throw new ExitCode(EXIT_PROBLEM);
    });
}

function foreignText(name: string, given: Kind | undefined): ForeignText {
  const text = readBounded(name);
  const kind = given ?? recognise(text);
  if (kind !== undefined) return { name, text, kind };
  throw new Gate64Error('G64_USAGE', `${name}: it is none of the files that are known`, {
    hint: `say what it is with --kind ${KINDS.join('|')}`,
  });
}

/** The whole file, or an error: what is too large is refused before it is in memory. */
function readBounded(name: string): string {
  const buffer = Buffer.alloc(MAX_OCTETS + 1);
  let length = 0;
  try {
    const file = openSync(name, 'r');
    try {
      for (;;) {
        const count = readSync(file, buffer, length, buffer.length - length, null);
        length += count;
        if (count === 0) break;
      }
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw new Gate64Error('G64_CONFIG_UNREADABLE', `${name}: ${messageOf(cause)}`, { cause });
  }
  if (length > MAX_OCTETS) {
    throw new Gate64Error('G64_CONFIG_UNREADABLE', `${name}: it has more than ${MAX_OCTETS} octets`, {
      hint: 'take the part that is about DNS64 or NAT64 out of it',
    });
  }
  return buffer.toString('utf8', 0, length);
}

function writeOutput(file: string, text: string, force: boolean): void {
  try {
    writeFileSync(file, text, { flag: force ? 'w' : 'wx' });
  } catch (cause) {
    const there = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    const message = there ? 'it is there already' : messageOf(cause);
    const hint = there ? '--force overwrites it' : 'name a file that can be written with --output';
    throw new Gate64Error('G64_USAGE', `${file}: ${message}`, { cause, hint });
  }
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
