// SPDX-License-Identifier: Apache-2.0
// Finds global variables by name in an object's BTF (data sections: .rodata, .data, .bss).

import koffi from 'koffi';
import type { Pointer } from './ffi.ts';
import { libbpf } from './ffi.ts';

export interface GlobalVariable {
  /** Data section, such as `.rodata`. */
  section: string;
  /** Bytes from the start of the section. */
  offset: number;
  size: number;
}

const kindDatasec = 15;
// struct btf_type is name_off, info, size (u32 each), followed for a section by {type, offset, size} per variable.
const typeBytes = 12;
const variableBytes = 12;

/** Undefined without BTF or without such a variable. */
export function findVariable(object: Pointer, name: string): GlobalVariable | undefined {
  const lib = libbpf();
  const btf = lib.objectBtf(object);
  if (btf === null) return undefined;
  for (const section of ['.rodata', '.data', '.bss']) {
    const id = lib.btfFind(btf, section, kindDatasec);
    const type = id > 0 ? lib.btfType(btf, id) : null;
    if (type === null) continue;
    const count = words(type, typeBytes)[1]! & 0xffff;
    const table = words(type, typeBytes + count * variableBytes);
    for (let i = 0; i < count; i++) {
      const [variable, offset, size] = table.subarray(3 + i * 3, 6 + i * 3);
      const pointer = lib.btfType(btf, variable!);
      if (pointer === null || lib.btfName(btf, words(pointer, 4)[0]!) !== name) continue;
      return { section, offset: offset!, size: size! };
    }
  }
  return undefined;
}

// Copied out at once: the memory is libbpf's.
function words(pointer: Pointer, bytes: number): Uint32Array {
  return new Uint32Array(koffi.view(pointer, bytes).slice(0));
}
