// SPDX-License-Identifier: Apache-2.0
// Whether an answer was seen: what the flow's sessions count, and what was dropped of it.

import type { DropRow } from '../../datapath/datapath.ts';
import { durationText } from '../../model/words.ts';
import type { DatapathFlow, Flow } from './facts.ts';
import { dropText, ok, problem, unknown, type Stage } from './stage.ts';

/** An answer may still be on its way for so long. */
const PATIENCE_MS = 1000;
/** Drops that are older say nothing about what happens now. */
const RECENT_MS = 60_000;

export function replyStage({ facts }: Flow, { sessions, drops }: DatapathFlow): Stage {
  const { now } = facts;
  const [session] = sessions;
  const drop = newest(drops);
  const droppedAt = drop?.last?.at ?? -Infinity;
  const isRecent = now - droppedAt <= RECENT_MS;
  if (drop !== undefined && isRecent && droppedAt >= (session?.lastSeenAt ?? -Infinity)) {
    return problem('reply', `dropped: ${dropText(drop, now)}`, '`gate64 drops --explain` shows all that was refused.');
  }
  if (session === undefined) {
    return unknown(
      'reply',
      'no session is there, so nothing was sent lately',
      '--live sends a probe and shows what becomes of it.',
    );
  }
  const counts = `${session.packetsOut} packets out, ${session.packetsIn} in`;
  const age = `last seen ${durationText((now - session.lastSeenAt) / 1000)} ago`;
  if (session.packetsIn > 0) return ok('reply', `${counts}, ${age} (${session.state})`);
  if (now - session.createdAt < PATIENCE_MS) return unknown('reply', `${counts}: an answer may be on its way`);
  return problem('reply', `${counts}, ${age}: no answer came back`, NO_ANSWER);
}

export const NO_ANSWER =
  'Packets leave this node. Is the server up, does it listen on that port, does a firewall beyond let it answer? ' +
  'Try it from the node itself, by IPv4; `tcpdump -ni UPLINK host ADDRESS` shows whether answers arrive.';

function newest(drops: readonly DropRow[]): DropRow | undefined {
  return [...drops].sort((a, b) => (b.last?.at ?? 0) - (a.last?.at ?? 0))[0];
}
