// SPDX-License-Identifier: Apache-2.0
// One stage of a trace, and what is said alike at several.

import type { DropRow } from '../../datapath/datapath.ts';
import { DROP_TEXTS } from '../../model/drops.gen.ts';
import { durationText } from '../../model/words.ts';

export type StageName = 'name' | 'route' | 'device' | 'policy' | 'port' | 'egress' | 'reply' | 'probe' | 'session';

export interface Stage {
  readonly stage: StageName;
  readonly verdict: 'ok' | 'problem' | 'unknown';
  readonly message: string;
  /** What to do about it. */
  readonly remedy?: string | undefined;
  /** A line for a shell that mends it, where there is one. */
  readonly command?: string | undefined;
}

export const RESTART = 'Restart the service, or start it: a start makes this, and while it runs it repairs it.';

export function ok(stage: StageName, message: string): Stage {
  return { stage, verdict: 'ok', message };
}

export function unknown(stage: StageName, message: string, remedy?: string): Stage {
  return { stage, verdict: 'unknown', message, remedy };
}

export function problem(stage: StageName, message: string, remedy?: string, command?: string): Stage {
  return { stage, verdict: 'problem', message, remedy, command };
}

/** "pool_exhausted, 3 times, the last 5s ago: No block …" */
export function dropText({ reason, count, last }: DropRow, now: number): string {
  const age = last === undefined ? '' : `, the last one of this flow ${durationText((now - last.at) / 1000)} ago`;
  return `${reason} (${count} in all${age}): ${DROP_TEXTS[reason]}`;
}
