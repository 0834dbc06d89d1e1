// SPDX-License-Identifier: Apache-2.0
// Where a program hangs: a pinned TCX link where the kernel has them, a clsact filter otherwise. Either outlives the
// process and takes a new program without a gap.

import { existsSync, unlinkSync } from 'node:fs';
import { ClsactFilter, TcxLink, isTcxSupported, LibbpfError, programName, tcxPrograms } from '../libbpf/mod.ts';
import type { BpfProgram } from '../libbpf/mod.ts';
import type { HookPlace, ProgramConfig } from './datapath.ts';

export type AttachKind = 'tcx' | 'clsact';
type Side = 'ingress' | 'egress';

/** Before everybody else's usual filters; the handle is "n6". */
const FILTER = { priority: 1, handle: 0x6e36 };
/** An interface of pods may be one that answers come by, too. */
export const POD_FILTER = { priority: 1, handle: 0x6e37 };

export function attachKind(): AttachKind {
  return isTcxSupported() ? 'tcx' : 'clsact';
}

function liveLink(pin: string): TcxLink | undefined {
  if (!existsSync(pin)) return undefined;
  return TcxLink.openPinned(pin);
}

/** Puts `program` at the side of the device, in place of whatever was attached under this pin before. */
export function attach(
  program: BpfProgram,
  ifindex: number,
  side: Side,
  pin: string,
  kind = attachKind(),
  filter = FILTER,
): void {
  if (kind === 'clsact') {
    ClsactFilter.attach(program, ifindex, side, filter);
    return;
  }
  using link = liveLink(pin);
  const info = link?.info();
  if (link && info && info.ifindex === ifindex && info.direction === side) {
    link.update(program);
    return;
  }
  // The device went, or another one is meant: a link cannot move.
  if (link) {
    if (info?.ifindex) link.detach();
    unlinkSync(pin);
  }
  using fresh = TcxLink.attach(program, ifindex, side, { before: true });
  fresh.pin(pin);
}

/**
 * The kernel's id of the program that hangs there by this pin, undefined when none does: somebody may have deleted the
 * device or cleared its filters.
 */
export function attachedProgram(
  ifindex: number,
  side: Side,
  pin: string,
  kind = attachKind(),
  filter = FILTER,
): number | undefined {
  if (kind === 'clsact') return ifindex === 0 ? undefined : ClsactFilter.query(ifindex, side, filter);
  using link = liveLink(pin);
  const info = link?.info();
  return info?.ifindex === ifindex && info.direction === side ? info.programId : undefined;
}

/** How to find who stands before the program that hangs there by this pin; undefined when none does. */
export function placeOf(ifindex: number, side: Side, pin: string, kind = attachKind()): HookPlace | undefined {
  const ours = attachedProgram(ifindex, side, pin, kind);
  if (ours === undefined) return undefined;
  if (kind === 'clsact') return { kind, ...FILTER };
  const all = tcxPrograms(ifindex, side);
  const before = all.slice(
    0,
    Math.max(
      0,
      all.findIndex(({ programId }) => programId === ours),
    ),
  );
  return { kind, before: before.map((one) => ({ ...one, name: programName(one.programId) })) };
}

/** Detaches and unpins; nothing there is fine. `ifindex` is what a clsact filter is found by. */
export function detach(ifindex: number, side: Side, pin: string, kind = attachKind(), filter = FILTER): void {
  if (kind === 'clsact') detachFilter(ifindex, side, filter);
  unlink(pin);
}

/** Detaches and unpins a link, whatever it is at; nothing there is fine. */
export function unlink(pin: string): void {
  using link = liveLink(pin);
  if (!link) return;
  if (link.info().ifindex !== 0) link.detach();
  unlinkSync(pin);
}

/** A filter belongs to its device and stays there, unlike a link, when the program is put somewhere else. */
export function leave(ifindex: number, side: Side, kind = attachKind()): void {
  if (kind === 'clsact') detachFilter(ifindex, side, FILTER);
}

function detachFilter(ifindex: number, side: Side, filter: typeof FILTER): void {
  if (ifindex === 0) return;
  try {
    new ClsactFilter(ifindex, side, filter).detach();
  } catch (error) {
    // Its filters go with a device.
    if (!(error instanceof LibbpfError && error.code === 'ENODEV')) throw error;
  }
}

/** Indexes of the interfaces that programs hang on. `gate`: 0 is none. */
interface HookedDevices {
  readonly gate: number;
  readonly returns: readonly number[];
}

export function hookedDevices(config: ProgramConfig | undefined): HookedDevices {
  if (config === undefined) return { gate: 0, returns: [] };
  return { gate: config.deviceIfindex, returns: config.returnIfindex.slice(0, config.returnCount) };
}
