// SPDX-License-Identifier: Apache-2.0
// Numbers of the kernel's UAPI (linux/bpf.h) used by this binding, by the names people know.

/** `enum bpf_map_type`, the kinds this binding knows how to size. */
export const mapTypes = {
  hash: 1,
  array: 2,
  progArray: 3,
  perCpuHash: 5,
  perCpuArray: 6,
  lruHash: 9,
  lruPerCpuHash: 10,
  lpmTrie: 11,
  arrayOfMaps: 12,
  hashOfMaps: 13,
  queue: 22,
  stack: 23,
  ringbuf: 27,
} as const;

export type MapTypeName = keyof typeof mapTypes;

/** `map_flags` of BPF_MAP_CREATE. */
export const mapFlags = { noPrealloc: 1, readOnlyProgram: 1 << 7, mmapable: 1 << 10, innerMap: 1 << 12 } as const;

/** `enum bpf_attach_type`: map iterator and the two TCX hooks. */
export const attachTypes = { iter: 28, tcxIngress: 46, tcxEgress: 47 } as const;

/** Side of a device a TC program sits on. */
export type Direction = 'ingress' | 'egress';

/** Throws TypeError for anything but the two directions. */
export function checkDirection(direction: Direction): Direction {
  if (direction !== 'ingress' && direction !== 'egress') {
    throw new TypeError(`direction is ${String(direction)}: expected 'ingress' or 'egress'`);
  }
  return direction;
}

/** BPF_ANY, BPF_NOEXIST, BPF_EXIST. */
export type UpdateFlag = 'any' | 'noexist' | 'exist';
