// SPDX-License-Identifier: Apache-2.0
// Which binding, port and block a flow has or would get, and whether quota and pool leave room for it.

import { formatIp4, formatIp6 } from '../../addr/ip.ts';
import type { BlockRow } from '../../datapath/datapath.ts';
import { DROP_TEXTS } from '../../model/drops.gen.ts';
import { text4 } from '../rows.ts';
import type { DatapathFlow, Flow } from './facts.ts';
import { ok, problem, type Stage } from './stage.ts';

export function portStage({ facts }: Flow, datapath: DatapathFlow): Stage {
  const { protocol, source } = facts;
  const { settings, sessions, podSessions, blocks, draining, statics, table } = datapath;
  const pod = formatIp6(source);
  if (settings.slots === 0) return problem('port', DROP_TEXTS.not_configured, 'See `gate64 status`.');
  const held = blocks.filter(
    ({ state, holder }) => state === 'leased' && holder !== undefined && formatIp6(holder) === pod,
  );
  const quota = `${held.length} of ${settings.maxBlocksPerPod} blocks, ${podSessions} of ${settings.maxSessionsPerPod} sessions`;
  // What is there already goes on, whatever is full; a trace is about the next flow.
  const goesOn = sessions.length === 0 ? '' : '; sessions that are there go on';
  if (podSessions >= settings.maxSessionsPerPod) {
    const remedy = 'Raise nat64.maxSessionsPerPod; `gate64 sessions --src POD` shows what the pod holds.';
    return problem('port', `the pod has all the sessions it may have (${quota})${goesOn}`, remedy);
  }
  if (table.maxEntries > 0 && table.entries >= table.maxEntries) {
    return problem('port', `the session table is full (${table.entries})${goesOn}`, DROP_TEXTS.sessions_full);
  }
  const [session] = sessions;
  const running = session === undefined ? '' : `session ${session.state} by ${text4(session.pool)}; `;
  const [fixed] = statics;
  if (fixed !== undefined && held.length === 0) {
    return ok('port', `${running}static binding to ${text4(fixed.pool)} (${quota})`);
  }
  const left = held.filter(({ v4 }) => draining.includes(v4)).length;
  const roomy = held.find((block) => block.used[protocol] < block.size && !draining.includes(block.v4));
  if (roomy !== undefined) {
    const used = `${roomy.used[protocol]} of ${roomy.size} ${protocol} ports used`;
    return ok('port', `${running}the pod holds ${blockText(roomy)}, ${used} (${quota})`);
  }
  if (held.length >= settings.maxBlocksPerPod) {
    const remedy = 'Raise nat64.maxBlocksPerPod; `gate64 pool` shows who holds what.';
    const leaving = left === 0 ? '' : `, ${left} of an address that left the pool, which gives no new flow a port`;
    const message = `all ports of all the blocks that the pod may have are in use (${quota}${leaving})${goesOn}`;
    return problem('port', message, remedy);
  }
  const offered = blocks.filter(({ state, v4 }) => state === 'offered' && !draining.includes(v4));
  const [next] = offered;
  if (next === undefined) {
    const message = `no block of ports is left in the pool, and the pod has no free port (${quota})${goesOn}`;
    return problem('port', message, 'Add addresses or ports to nat64.pool; `gate64 pool` shows who holds what.');
  }
  return ok('port', `${running}the pod gets a block of ${next.size} ports, ${offered.length} are free (${quota})`);
}

function blockText({ v4, firstPort, size }: BlockRow): string {
  return `${formatIp4(v4)}:${firstPort}-${firstPort + size - 1}`;
}
