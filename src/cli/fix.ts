// SPDX-License-Identifier: Apache-2.0
// `doctor --fix`: runs the commands of those findings that are marked as safe, and keeps what they said.

import { Gate64Error } from '../errors.ts';
import type { Finding, FindingName } from '../plan/findings.ts';
import type { CliContext } from './context.ts';

/** A command that was run. */
export interface Fix {
  readonly name: FindingName;
  readonly command: string;
  /** Null when it could not be run, or did not end. */
  readonly exit: number | null;
  /** Lines that it wrote, or why it was not run. */
  readonly says: readonly string[];
}

/** One after the other, each once. A command that fails keeps the others from nothing. */
export async function fix(findings: readonly Finding[], context: Pick<CliContext, 'runLine'>): Promise<Fix[]> {
  const ran = new Map<string, Fix>();
  for (const { name, command, isSafe } of findings) {
    if (command === undefined || isSafe !== true || ran.has(command)) continue;
    ran.set(command, { name, command, ...(await runOne(command, context)) });
  }
  return [...ran.values()];
}

async function runOne(command: string, context: Pick<CliContext, 'runLine'>): Promise<Pick<Fix, 'exit' | 'says'>> {
  try {
    const { exit, stdout, stderr } = await context.runLine(command);
    return { exit, says: `${stdout}\n${stderr}`.split('\n').filter((line) => line.trim() !== '') };
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    return { exit: null, says: [error.message] };
  }
}
