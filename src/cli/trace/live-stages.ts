// SPDX-License-Identifier: Apache-2.0
// What a probe showed: was it sent, did it make a session, what came back, what was dropped meanwhile. Pure.

import type { DropRow, SessionRow } from '../../datapath/datapath.ts';
import { DROP_TEXTS } from '../../model/drops.gen.ts';
import type { ProbeResult } from '../../host/probe.ts';
import { text4, text6 } from '../rows.ts';
import { NO_ANSWER } from './reply-stage.ts';
import { ok, problem, unknown, type Stage } from './stage.ts';

export interface DropGrowth {
  readonly reason: DropRow['reason'];
  readonly direction: DropRow['direction'];
  readonly count: number;
}

const FROM_ELSEWHERE =
  "A probe is sent from where the pod's address is: --netns NAME|PID, as root on the node. gate64's own pod in Kubernetes may not " +
  'enter others: run curl in the pod, and meanwhile `gate64 monitor --pod ADDRESS` here.';

/** How much each reason grew; others' packets count too. */
export function dropGrowth(before: readonly DropRow[], after: readonly DropRow[]): DropGrowth[] {
  return after.flatMap(({ reason, direction, count }) => {
    const was = before.find((row) => row.reason === reason && row.direction === direction)?.count ?? 0;
    return count > was ? [{ reason, direction, count: count - was }] : [];
  });
}

/** Once the probe is out: the session that the data plane has for it. */
export function sessionStage(session: SessionRow | undefined, drops: readonly DropGrowth[]): Stage {
  if (session !== undefined) {
    const { state, source, pool, destination, packetsOut, packetsIn } = session;
    return ok(
      'session',
      `${text6(source)} goes by ${text4(pool)} to ${text4(destination)}: ${state}, ${packetsOut} packets out, ${packetsIn} in`,
    );
  }
  if (drops.length > 0) return problem('session', `no session was made; dropped meanwhile: ${growthText(drops)}`);
  return problem(
    'session',
    'no session was made, and the data plane dropped nothing: the packet did not reach it',
    'Look at the way from the pod to this node: its default route, network policies, `tcpdump -ni DEVICE` on its interface.',
  );
}

/** Once it has ended. `session` as it stood before and stands after. */
export function answerStage(
  result: ProbeResult,
  { before, after }: { readonly before: SessionRow | undefined; readonly after: SessionRow | undefined },
  drops: readonly DropGrowth[],
): Stage {
  const grown = (key: 'packetsOut' | 'packetsIn') => (after?.[key] ?? 0) - (before?.[key] ?? 0);
  const counts = after === undefined ? '' : `; ${grown('packetsOut')} packets out, ${grown('packetsIn')} in`;
  const dropped = drops.length === 0 ? '' : `; dropped meanwhile: ${growthText(drops)}`;
  if (result.outcome === 'answered') return ok('reply', `${result.what}, after ${result.ms} ms${counts}${dropped}`);
  const message = `${result.what}${counts}${dropped}`;
  if (result.outcome === 'failed') return problem('reply', message, FROM_ELSEWHERE);
  if (drops.length > 0) return problem('reply', message);
  if (grown('packetsIn') > 0) {
    return problem(
      'reply',
      message,
      'Answers came back and were translated: look at the way from this node to the pod.',
    );
  }
  // Who has nothing to say to these octets is silent.
  if (after?.protocol === 'udp') return unknown('reply', message, 'A UDP server need not answer a probe.');
  return problem('reply', message, NO_ANSWER);
}

function growthText(drops: readonly DropGrowth[]): string {
  return drops.map(({ reason, count }) => `${count} ${reason} (${DROP_TEXTS[reason]})`).join(', ');
}
