// SPDX-License-Identifier: Apache-2.0
// Bound sockets of the node, as `ss` tells.

import { parseIp4 } from '../addr/ip.ts';
import type { Socket } from '../model/facts.ts';
import { run, type Exec } from './exec.ts';

export async function listSockets(exec: Exec): Promise<Socket[]> {
  return parseSockets(await run(exec, 'ss', ['-H', '-t', '-u', '-a', '-n', '-p']));
}

/** Output of `ss -H -tuanp`: netid, state, two queues, local, peer, process. */
export function parseSockets(text: string): Socket[] {
  return text.split('\n').flatMap((line): Socket[] => {
    const [protocol, state, , , local, peer, ...rest] = line.trim().split(/\s+/);
    if (protocol === undefined || local === undefined || peer === undefined || state === 'TIME-WAIT') return [];
    const at = local.lastIndexOf(':');
    const port = Number(local.slice(at + 1));
    const v4 = localAddress(local.slice(0, at));
    if (!Number.isInteger(port) || v4 === null) return [];
    const program = /"([^"]+)"/.exec(rest.join(' '))?.[1];
    return [{ protocol, v4, port, listens: /[:.]\*$|^\*:\*$/.test(peer), program }];
  });
}

/** Undefined for a wildcard that takes IPv4 too, null for what takes none. */
function localAddress(text: string): number | undefined | null {
  const bare = text
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/%.*$/, '')
    .replace(/^::ffff:/i, '');
  // "*" and "::" take IPv4 unless the socket is IPv6-only, which ss writes as "[::]".
  if (bare === '0.0.0.0' || bare === '*') return undefined;
  if (/^\d+\.\d+\.\d+\.\d+$/.test(bare)) return parseIp4(bare);
  return null;
}
