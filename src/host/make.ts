// SPDX-License-Identifier: Apache-2.0
// Makes changes on a real node. Those that `ip` makes and that follow one another go to it together (`ip -batch`), which
// stops at the first that fails.

import { formatIp4 } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import { peerName } from '../model/device.ts';
import { describe, isNoTable, routeWords, type Change } from './changes.ts';
import type { Exec } from './exec.ts';
import { writeTable, removeTable } from './nft.ts';
import type { StateFile } from './state.ts';
import type { Sysctls } from './sysctls.ts';

/**
 * Given when the device is made: udev changes one that the kernel made up (MACAddressPolicy), and programs know it. Nobody
 * but the two ends sees them; locally administered.
 */
const MACS = { device: '02:64:00:00:00:01', peer: '02:64:00:00:00:02' } as const;

export interface Tools {
  readonly exec: Exec;
  readonly sysctls: Pick<Sysctls, 'read' | 'write'>;
  readonly state: Pick<StateFile, 'read' | 'write'>;
}

/** Throws what failed first, with what it was about; what was made until then stays. */
export async function make(tools: Tools, changes: readonly Change[]): Promise<void> {
  let batch: { line: string; change: Change }[] = [];
  const flush = async () => {
    const lines = batch;
    batch = [];
    if (lines.length > 0) await runBatch(tools.exec, lines);
  };
  for (const change of changes) {
    const lines = ipLines(change);
    if (lines === undefined) {
      await flush();
      await makeAlone(tools, change);
    } else {
      batch.push(...lines.map((line) => ({ line, change })));
    }
  }
  await flush();
}

/** A change as lines for `ip -batch`; undefined for what `ip` does not make. */
function ipLines(change: Change): string[] | undefined {
  switch (change.kind) {
    case 'removeDevice':
      return [`link del ${change.name}`];
    case 'addDevice': {
      const { name, mtu } = change;
      const peer = peerName(name);
      return [
        `link add ${name} address ${MACS.device} type veth peer name ${peer} address ${MACS.peer}`,
        ...[name, peer].map((end) => `link set ${end} addrgenmode none arp off mtu ${mtu}`),
        ...[peer, name].map((end) => `link set ${end} up`),
      ];
    }
    case 'setDevice':
      return [`link set ${change.name} ${change.set.join(' ')}`];
    case 'flushAddresses':
      return [`address flush dev ${change.name}`];
    case 'route':
      return [`route ${change.verb} ${routeWords(change.route, change.device).join(' ')}`];
    case 'proxy':
      return [`neighbour ${change.verb} proxy ${formatIp4(change.proxy.v4)} dev ${change.proxy.device}`];
    default:
      return undefined;
  }
}

async function runBatch(exec: Exec, lines: readonly { line: string; change: Change }[]): Promise<void> {
  const result = await exec('ip', ['-batch', '-'], lines.map(({ line }) => `${line}\n`).join(''));
  if (result.exit === 0) return;
  // "Command failed -:3"
  const at = Number(/^Command failed -:(\d+)/m.exec(result.stderr)?.[1] ?? 1) - 1;
  const failed = lines[at] ?? lines[0];
  const words = result.stderr
    .split('\n')
    .filter((text) => text.trim() !== '' && !text.startsWith('Command failed'))
    .slice(0, 3)
    .join(' ');
  throw new Gate64Error(
    'G64_HOST_COMMAND',
    `"ip ${failed?.line ?? ''}" failed with exit code ${result.exit}: ${words || 'it said nothing'}`,
  );
}

async function makeAlone({ exec, sysctls, state }: Tools, change: Change): Promise<void> {
  switch (change.kind) {
    case 'record':
      state.write(change.record);
      return;
    case 'sysctl':
      sysctls.write(change.name, change.value);
      return;
    case 'masquerade':
      if (isNoTable(change)) await removeTable(exec);
      else await writeTable(exec, change);
      return;
    default:
      throw new TypeError(`nothing makes ${describe(change) ?? change.kind}`);
  }
}
