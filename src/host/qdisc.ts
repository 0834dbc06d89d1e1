// SPDX-License-Identifier: Apache-2.0
// The clsact qdisc of the uplink: before Linux 6.6 the data plane's filter needs one and makes it where it is missing.
// Whether one was there before is remembered, so that uninstall can leave the uplink as it was.

import { parseJson, run, type Exec } from './exec.ts';

interface QdiscRow {
  readonly kind: string;
  readonly dev?: string;
}

/** Names of the devices that have a clsact qdisc. */
export async function listClsact(exec: Exec): Promise<string[]> {
  const text = (await run(exec, 'tc', ['-j', 'qdisc', 'show'])).trim();
  const rows = text === '' ? [] : parseJson<QdiscRow[]>(text, 'tc -j qdisc show');
  return rows.flatMap(({ kind, dev }) => (kind === 'clsact' && dev !== undefined ? [dev] : []));
}

async function hasFilters(exec: Exec, device: string): Promise<boolean> {
  for (const side of ['ingress', 'egress']) {
    const text = (await run(exec, 'tc', ['-j', 'filter', 'show', 'dev', device, side])).trim();
    if (text !== '' && parseJson<unknown[]>(text, 'tc').length > 0) return true;
  }
  return false;
}

/** Removes the qdisc that came with the data plane's filter, unless somebody else has put filters there since. */
export async function removeQdiscs(
  exec: Exec,
  devices: readonly string[],
  present: (device: string) => boolean,
): Promise<string[]> {
  const removed: string[] = [];
  const withQdisc = await listClsact(exec);
  for (const device of devices) {
    if (!present(device) || !withQdisc.includes(device) || (await hasFilters(exec, device))) continue;
    await run(exec, 'tc', ['qdisc', 'del', 'dev', device, 'clsact']);
    removed.push(`clsact qdisc of ${device}`);
  }
  return removed;
}
