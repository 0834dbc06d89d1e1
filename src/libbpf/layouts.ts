// SPDX-License-Identifier: Apache-2.0
// C struct layouts handed to libbpf and bpf(2). Option structs are declared up to the last field used: libbpf takes
// `sz` as the caller's idea of the struct and treats what lies beyond as zero. A test compares every offset with C.

import koffi from 'koffi';
import type { TypeObject } from 'koffi';

export interface Layout {
  /** C name after `struct`. */
  readonly c: string;
  readonly type: TypeObject;
  /** Whether `type` covers the whole C struct of libbpf 1.1 (then sizeof must agree as well). */
  readonly whole: boolean;
  /** C spelling of a member where it differs from ours. */
  readonly members?: Readonly<Record<string, string>>;
}

const layout = (
  c: string,
  whole: boolean,
  fields: Record<string, string | TypeObject>,
  members?: Record<string, string>,
): Layout => ({ c, type: koffi.struct(fields), whole, ...(members ? { members } : {}) });

export const openOpts = layout('bpf_object_open_opts', false, { sz: 'size_t', object_name: 'void *' });

export const mapCreateOpts = layout('bpf_map_create_opts', false, {
  sz: 'size_t',
  btf_fd: 'uint32_t',
  btf_key_type_id: 'uint32_t',
  btf_value_type_id: 'uint32_t',
  btf_vmlinux_value_type_id: 'uint32_t',
  inner_map_fd: 'uint32_t',
  map_flags: 'uint32_t',
});

export const batchOpts = layout('bpf_map_batch_opts', true, {
  sz: 'size_t',
  elem_flags: 'uint64_t',
  flags: 'uint64_t',
});

export const testRunOpts = layout('bpf_test_run_opts', true, {
  sz: 'size_t',
  data_in: 'void *',
  data_out: 'void *',
  data_size_in: 'uint32_t',
  data_size_out: 'uint32_t',
  ctx_in: 'void *',
  ctx_out: 'void *',
  ctx_size_in: 'uint32_t',
  ctx_size_out: 'uint32_t',
  retval: 'uint32_t',
  repeat: 'int',
  duration: 'uint32_t',
  flags: 'uint32_t',
  cpu: 'uint32_t',
  batch_size: 'uint32_t',
});

export const linkCreateOpts = layout('bpf_link_create_opts', false, {
  sz: 'size_t',
  flags: 'uint32_t',
  iter_info: 'void *',
  iter_info_len: 'uint32_t',
  target_btf_id: 'uint32_t',
});

export const tcHook = layout('bpf_tc_hook', true, {
  sz: 'size_t',
  ifindex: 'int',
  attach_point: 'int',
  parent: 'uint32_t',
});

export const tcOpts = layout('bpf_tc_opts', true, {
  sz: 'size_t',
  prog_fd: 'int',
  flags: 'uint32_t',
  prog_id: 'uint32_t',
  handle: 'uint32_t',
  priority: 'uint32_t',
});

export const mapInfo = layout('bpf_map_info', false, {
  type: 'uint32_t',
  id: 'uint32_t',
  key_size: 'uint32_t',
  value_size: 'uint32_t',
  max_entries: 'uint32_t',
  map_flags: 'uint32_t',
  name: koffi.array('char', 16),
});

export const progInfo = layout('bpf_prog_info', true, {
  type: 'uint32_t',
  id: 'uint32_t',
  tag: koffi.array('uint8_t', 8),
  jited_prog_len: 'uint32_t',
  xlated_prog_len: 'uint32_t',
  jited_prog_insns: 'uint64_t',
  xlated_prog_insns: 'uint64_t',
  load_time: 'uint64_t',
  created_by_uid: 'uint32_t',
  nr_map_ids: 'uint32_t',
  map_ids: 'uint64_t',
  name: koffi.array('char', 16),
  ifindex: 'uint32_t',
  bits: 'uint32_t',
  netns_dev: 'uint64_t',
  netns_ino: 'uint64_t',
  nr_jited_ksyms: 'uint32_t',
  nr_jited_func_lens: 'uint32_t',
  jited_ksyms: 'uint64_t',
  jited_func_lens: 'uint64_t',
  btf_id: 'uint32_t',
  func_info_rec_size: 'uint32_t',
  func_info: 'uint64_t',
  nr_func_info: 'uint32_t',
  nr_line_info: 'uint32_t',
  line_info: 'uint64_t',
  jited_line_info: 'uint64_t',
  nr_jited_line_info: 'uint32_t',
  line_info_rec_size: 'uint32_t',
  jited_line_info_rec_size: 'uint32_t',
  nr_prog_tags: 'uint32_t',
  prog_tags: 'uint64_t',
  run_time_ns: 'uint64_t',
  run_cnt: 'uint64_t',
  recursion_misses: 'uint64_t',
  verified_insns: 'uint32_t',
  attach_btf_obj_id: 'uint32_t',
  attach_btf_id: 'uint32_t',
  pad: 'uint32_t',
});

// Headers before 6.6 do not know `tcx`; its two fields lie where `netns` has an inode number and the attach type.
export const linkInfo = layout(
  'bpf_link_info',
  false,
  {
    type: 'uint32_t',
    id: 'uint32_t',
    prog_id: 'uint32_t',
    pad: 'uint32_t',
    ifindex: 'uint32_t',
    attach_type: 'uint32_t',
  },
  { ifindex: 'netns.netns_ino', attach_type: 'netns.attach_type' },
);

/** Everything above, for the layout test. Members called `pad` or `bits` have no C name and are left out there. */
export const layouts: readonly Layout[] = [
  openOpts,
  mapCreateOpts,
  batchOpts,
  testRunOpts,
  linkCreateOpts,
  tcHook,
  tcOpts,
  mapInfo,
  progInfo,
  linkInfo,
];

/**
 * One C struct in memory of our own. Pointers are written with `point`, which also keeps the pointed-to bytes alive
 * as long as this object is.
 */
export class StructBuffer {
  readonly bytes: Buffer;
  readonly #type: TypeObject;
  readonly #alive: Uint8Array[] = [];

  constructor(layout: Layout, extraBytes = 0) {
    this.#type = layout.type;
    this.bytes = Buffer.alloc(layout.type.size + extraBytes);
    if (layout.type.members?.['sz']) this.set('sz', layout.type.size);
  }

  set(member: string, value: number | bigint): this {
    const { offset, type } = this.#member(member);
    if (type.size === 8) this.bytes.writeBigUInt64LE(BigInt(value), offset);
    else if (type.name === 'int') this.bytes.writeInt32LE(Number(value), offset);
    else this.bytes.writeUInt32LE(Number(value), offset);
    return this;
  }

  point(member: string, target: Uint8Array): this {
    this.#alive.push(target);
    return this.set(member, koffi.address(target));
  }

  u32(member: string): number {
    return this.bytes.readUInt32LE(this.#member(member).offset);
  }

  /** A fixed char array up to its NUL. */
  text(member: string): string {
    const { offset, type } = this.#member(member);
    const raw = this.bytes.subarray(offset, offset + type.size);
    const end = raw.indexOf(0);
    return raw.toString('latin1', 0, end < 0 ? raw.length : end);
  }

  #member(name: string): { offset: number; type: TypeObject } {
    const found = this.#type.members?.[name];
    if (!found) throw new Error(`no member ${name}`);
    return found;
  }
}
