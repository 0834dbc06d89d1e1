// SPDX-License-Identifier: Apache-2.0
// The look at the node of a start, without the start: all that may be wrong, and nothing changed.

import type { Config } from '../config/config.ts';
import { Gate64Error } from '../errors.ts';
import type { Finding } from '../plan/findings.ts';
import { findings } from '../plan/plan.ts';
import type { Host } from './host.ts';

export interface Examination {
  readonly findings: readonly Finding[];
  /** Why the node could not be looked at, so that `findings` are not all; undefined when it was. */
  readonly unseen: string | undefined;
}

/** Throws Gate64Error when the node cannot be looked at although nothing that this takes is missing. */
export async function examine(host: Host, config: Config): Promise<Examination> {
  const lacks = await host.preflight();
  try {
    const facts = await host.observe({ direct: config.nat64.egress === 'direct', thorough: true });
    return { findings: [...lacks, ...findings(config, facts)], unseen: undefined };
  } catch (error) {
    // Without rights or a command the look fails, and what is missing says why.
    if (!(error instanceof Gate64Error) || lacks.length === 0) throw error;
    return { findings: lacks, unseen: error.message };
  }
}
