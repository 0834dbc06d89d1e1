// SPDX-License-Identifier: Apache-2.0
// TC programs attached as direct-action filters of a clsact qdisc, for kernels without TCX. Such a filter belongs to
// the device: it stays when the process ends.

import { checkInt } from './check.ts';
import { systemError } from './errors.ts';
import { libbpf, withWarnings } from './ffi.ts';
import type { Direction } from './kinds.ts';
import { checkDirection } from './kinds.ts';
import { StructBuffer, tcHook, tcOpts } from './layouts.ts';
import type { BpfProgram } from './program.ts';

const BPF_TC_INGRESS = 1;
const BPF_TC_EGRESS = 2;
const BPF_TC_F_REPLACE = 1;
const EEXIST = 17;
const ENOENT = 2;
const EINVAL = 22;

/** Place of a filter: lower priorities run first. */
export interface ClsactPlace {
  /** 1 to 65535. */
  priority: number;
  /** 1 to 4294967295, unique within the priority. */
  handle: number;
}

/** One filter. Holds no descriptor: the place is all there is, so it can also be made for a filter left earlier. */
export class ClsactFilter implements Disposable {
  readonly ifindex: number;
  readonly direction: Direction;
  readonly place: ClsactPlace;

  constructor(ifindex: number, direction: Direction, place: ClsactPlace) {
    this.ifindex = checkInt('ifindex', ifindex, 1, 0x7fffffff);
    this.direction = checkDirection(direction);
    this.place = checkPlace(place);
  }

  /**
   * Attaches a program, replacing a filter already at that place. Adds the clsact qdisc if it is missing and leaves it
   * behind: others may use it by then. Throws LibbpfError.
   */
  static attach(program: BpfProgram, ifindex: number, direction: Direction, place: ClsactPlace): ClsactFilter {
    const hook = hookOf(ifindex, direction);
    checkPlace(place);
    const { result, warnings } = withWarnings(() => libbpf().tcHookCreate(hook.bytes));
    if (result < 0 && result !== -EEXIST) {
      throw systemError(`cannot add the clsact qdisc to interface ${ifindex}`, result, warnings);
    }
    const filter = new ClsactFilter(ifindex, direction, place);
    filter.replace(program);
    return filter;
  }

  /** Kernel's id of the program at that place, undefined if there is none. */
  static query(ifindex: number, direction: Direction, place: ClsactPlace): number | undefined {
    const hook = hookOf(ifindex, direction);
    const opts = optsOf(place);
    const { result, warnings } = withWarnings(() => libbpf().tcQuery(hook.bytes, opts.bytes));
    // EINVAL is what the kernel says where there is no clsact qdisc at all.
    if (result === -ENOENT || result === -EINVAL) return undefined;
    if (result < 0) throw systemError(`cannot query TC filters of interface ${ifindex}`, result, warnings);
    return opts.u32('prog_id');
  }

  /** Puts a program at this place, over the one there (BPF_TC_F_REPLACE). */
  replace(program: BpfProgram): void {
    const hook = hookOf(this.ifindex, this.direction);
    const opts = optsOf(this.place).set('prog_fd', program.fd).set('flags', BPF_TC_F_REPLACE);
    const { result, warnings } = withWarnings(() => libbpf().tcAttach(hook.bytes, opts.bytes));
    if (result < 0) {
      throw systemError(
        `cannot attach ${program.name} to ${this.direction} of interface ${this.ifindex}`,
        result,
        warnings,
      );
    }
  }

  /** Removes the filter; false if it was gone already. The qdisc stays. */
  detach(): boolean {
    if (ClsactFilter.query(this.ifindex, this.direction, this.place) === undefined) return false;
    const hook = hookOf(this.ifindex, this.direction);
    const { result, warnings } = withWarnings(() => libbpf().tcDetach(hook.bytes, optsOf(this.place).bytes));
    if (result === -ENOENT) return false;
    if (result < 0) throw systemError(`cannot remove the TC filter of interface ${this.ifindex}`, result, warnings);
    return true;
  }

  /** Same as detach. */
  [Symbol.dispose](): void {
    this.detach();
  }
}

function hookOf(ifindex: number, direction: Direction): StructBuffer {
  return new StructBuffer(tcHook)
    .set('ifindex', checkInt('ifindex', ifindex, 1, 0x7fffffff))
    .set('attach_point', checkDirection(direction) === 'ingress' ? BPF_TC_INGRESS : BPF_TC_EGRESS);
}

function optsOf(place: ClsactPlace): StructBuffer {
  return new StructBuffer(tcOpts).set('priority', place.priority).set('handle', place.handle);
}

function checkPlace(place: ClsactPlace): ClsactPlace {
  checkInt('filter priority', place.priority, 1, 0xffff);
  checkInt('filter handle', place.handle, 1, 0xffffffff);
  return place;
}
