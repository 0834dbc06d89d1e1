// SPDX-License-Identifier: Apache-2.0
// The clsact qdisc of the uplink: before Linux 6.6 the data plane's filter needs one and makes it where it is missing.
// Whether one was there before is remembered, so that uninstall can leave the uplink as it was.

import { parseJson, run, type Exec } from './exec.ts';
import type { Change } from './links.ts';
import type { StateFile } from './state.ts';

interface QdiscRow {
  readonly kind: string;
}

async function hasClsact(exec: Exec, device: string): Promise<boolean> {
  const rows = parseJson<QdiscRow[]>(await run(exec, 'tc', ['-j', 'qdisc', 'show', 'dev', device]), 'tc');
  return rows.some((row) => row.kind === 'clsact');
}

async function hasFilters(exec: Exec, device: string): Promise<boolean> {
  for (const side of ['ingress', 'egress']) {
    const text = (await run(exec, 'tc', ['-j', 'filter', 'show', 'dev', device, side])).trim();
    if (text !== '' && parseJson<unknown[]>(text, 'tc').length > 0) return true;
  }
  return false;
}

/** Notes that `uplink` has no clsact qdisc yet. */
export async function rememberQdisc(exec: Exec, stateFile: StateFile, uplink: string): Promise<Change[]> {
  const { withoutQdisc } = stateFile.read();
  if (withoutQdisc.includes(uplink) || (await hasClsact(exec, uplink))) return [];
  const write = (devices: readonly string[]) => stateFile.write({ ...stateFile.read(), withoutQdisc: devices });
  return [
    {
      what: 'state file',
      make: async () => write([...withoutQdisc, uplink]),
      undo: async () => write(withoutQdisc),
    },
  ];
}

/** Removes the qdisc that came with the data plane's filter, unless somebody else has put filters there since. */
export async function removeQdiscs(
  exec: Exec,
  devices: readonly string[],
  present: (device: string) => boolean,
): Promise<string[]> {
  const removed: string[] = [];
  for (const device of devices) {
    if (!present(device) || !(await hasClsact(exec, device)) || (await hasFilters(exec, device))) continue;
    await run(exec, 'tc', ['qdisc', 'del', 'dev', device, 'clsact']);
    removed.push(`clsact qdisc of ${device}`);
  }
  return removed;
}
