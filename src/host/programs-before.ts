// SPDX-License-Identifier: Apache-2.0
// Programs of others that packets meet before gate64's at a hook. One that answers "next" (TC_ACT_UNSPEC) leaves packets to the
// programs behind it, any other answer ends their way there; which one it gives cannot be read.

import { setTimeout as sleep } from 'node:timers/promises';
import type { DatapathSite, ForeignProgram, HookRow } from '../datapath/datapath.ts';
import type { Interface } from '../model/facts.ts';
import type { Finding } from '../plan/findings.ts';
import { shellWord } from '../plan/shell.ts';
import { ipRows, parseJson, run, type Exec } from './exec.ts';

/** How long packets are watched for whether they get to gate64's program: only where somebody stands before it. */
const WATCH_MS = 1000;

/** Of `tc -j filter show`. A line without options is that of the list of filters of one preference, not of a filter. */
export interface FilterRow {
  readonly protocol: string;
  readonly pref: number;
  readonly kind: string;
  readonly options?: {
    readonly handle?: string | number;
    readonly bpf_name?: string;
    readonly prog?: { readonly id: number; readonly name?: string };
  };
}

interface Before {
  /** As a person finds it: name and id. */
  readonly what: string;
  /** What takes it off. */
  readonly command: string | undefined;
}

export async function programsBefore(
  exec: Exec,
  site: Pick<DatapathSite, 'hooks' | 'packetsSeen'>,
  interfaces: readonly Interface[],
): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const hook of site.hooks()) {
    const device = interfaces.find(({ ifindex }) => ifindex === hook.ifindex)?.name;
    if (device === undefined) continue;
    const { place, side } = hook;
    const before =
      place.kind === 'tcx'
        ? place.before.map(ofLink)
        : filtersBefore(await listFilters(exec, device, side), place, { device, side });
    if (before.length === 0) continue;
    const isCut = hook.name === 'gate' && (await isPassedBy(exec, site, device));
    found.push(finding(before, { device, side, isCut }));
  }
  return found;
}

function ofLink({ programId, name, linkId }: ForeignProgram): Before {
  const what = `${name === undefined || name === '' ? 'a program' : `"${name}"`} (id ${programId})`;
  return { what, command: linkId === undefined ? undefined : `bpftool link detach id ${linkId}` };
}

async function listFilters(exec: Exec, device: string, side: HookRow['side']): Promise<FilterRow[]> {
  const text = (await run(exec, 'tc', ['-j', 'filter', 'show', 'dev', device, side])).trim();
  return text === '' ? [] : parseJson<FilterRow[]>(text, 'tc -j filter show');
}

/** `tc` lists filters as packets meet them: by preference, and those of one preference the last added first. */
export function filtersBefore(
  rows: readonly FilterRow[],
  ours: { readonly priority: number; readonly handle: number },
  at: { readonly device: string; readonly side: HookRow['side'] },
): Before[] {
  const filters = rows.filter(({ options }) => options?.handle !== undefined);
  const place = filters.findIndex(
    ({ kind, pref, options }) => kind === 'bpf' && pref === ours.priority && Number(options?.handle) === ours.handle,
  );
  return filters.slice(0, Math.max(0, place)).map(({ protocol, pref, kind, options }) => {
    const handle = String(options?.handle);
    const { prog, bpf_name: name } = options ?? {};
    const what = `"${prog?.name ?? name ?? kind}" (${prog === undefined ? `filter ${handle}` : `id ${prog.id}`})`;
    const words = `protocol ${shellWord(protocol)} pref ${pref} handle ${shellWord(handle)} ${shellWord(kind)}`;
    return { what, command: `tc filter del dev ${shellWord(at.device)} ${at.side} ${words}` };
  });
}

/** The gate lets no packet on into its device, so that one which the device sent has not met it. */
async function isPassedBy(exec: Exec, site: Pick<DatapathSite, 'packetsSeen'>, device: string): Promise<boolean> {
  const look = async () => ({ sent: await packetsSent(exec, device), seen: site.packetsSeen() });
  const first = await look();
  await sleep(WATCH_MS);
  const then = await look();
  return then.sent > first.sent && then.seen === first.seen;
}

async function packetsSent(exec: Exec, device: string): Promise<number> {
  const rows = await ipRows<{ stats64?: { tx: { packets: number } } }>(exec, ['-s', 'link', 'show', 'dev', device]);
  return rows[0]?.stats64?.tx.packets ?? 0;
}

function finding(
  before: readonly Before[],
  { device, side, isCut }: { readonly device: string; readonly side: string; readonly isCut: boolean },
): Finding {
  const names = before.map(({ what }) => what).join(', ');
  const rest = isCut
    ? 'packets come by there and none gets to gate64'
    : 'gate64 sees only what it passes on (TC_ACT_UNSPEC, -1)';
  const commands = before.flatMap(({ command }) => command ?? []);
  const command = commands.length === before.length ? commands.join(' && ') : undefined;
  const away = command === undefined ? 'detach it' : `take it off: ${command}`;
  return {
    name: 'program-before-ours',
    severity: isCut ? 'error' : 'warning',
    message: `before gate64's program at the ${side} of ${device} stands ${names}: ${rest}`,
    remedy: `Have its owner attach it behind gate64's, or ${away}`,
    ...(command === undefined ? {} : { command }),
  };
}
