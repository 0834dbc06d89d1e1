// SPDX-License-Identifier: Apache-2.0
// The C functions, loaded on first use: libbpf.so.1 and a few of libc. Nothing here checks arguments; callers do.
// Functions returning int give -errno (libbpf 1.x); pointer functions give null plus errno; libc gives -1 plus errno.

import { arch } from 'node:process';
import koffi from 'koffi';
import { LibbpfError } from './errors.ts';

/** A C pointer as koffi hands it out. */
export type Pointer = bigint;
type Bytes = Uint8Array | null;

export interface Libbpf {
  versionString(): string;
  setPrint(callback: Pointer | null): Pointer | null;
  possibleCpus(): number;
  objectOpenFile(path: string, opts: Uint8Array): Pointer | null;
  objectOpenMem(bytes: Uint8Array, size: number, opts: Uint8Array): Pointer | null;
  objectLoad(object: Pointer): number;
  objectClose(object: Pointer): void;
  objectName(object: Pointer): string;
  objectBtf(object: Pointer): Pointer | null;
  objectFindMap(object: Pointer, name: string): Pointer | null;
  objectFindProgram(object: Pointer, name: string): Pointer | null;
  objectNextMap(object: Pointer, map: Pointer | null): Pointer | null;
  objectNextProgram(object: Pointer, program: Pointer | null): Pointer | null;
  btfFind(btf: Pointer, name: string, kind: number): number;
  btfType(btf: Pointer, id: number): Pointer | null;
  btfName(btf: Pointer, offset: number): string | null;
  mapFd(map: Pointer): number;
  mapName(map: Pointer): string;
  mapType(map: Pointer): number;
  mapKeySize(map: Pointer): number;
  mapValueSize(map: Pointer): number;
  mapMaxEntries(map: Pointer): number;
  mapSetMaxEntries(map: Pointer, count: number): number;
  mapSetPinPath(map: Pointer, path: string): number;
  mapSetInnerFd(map: Pointer, fd: number): number;
  mapReuseFd(map: Pointer, fd: number): number;
  mapSetAutocreate(map: Pointer, on: boolean): number;
  mapInitialValue(map: Pointer, size: BigUint64Array): Pointer | null;
  mapSetInitialValue(map: Pointer, bytes: Uint8Array, size: number): number;
  programFd(program: Pointer): number;
  programName(program: Pointer): string;
  programSetAutoload(program: Pointer, on: boolean): number;
  programAutoload(program: Pointer): boolean;
  programSetLogBuf(program: Pointer, buffer: Bytes, size: number): number;
  programLoad(type: number, name: string, license: string, insns: Uint8Array, count: number, opts: Bytes): number;
  programTestRun(fd: number, opts: Uint8Array): number;
  mapCreate(type: number, name: string | null, key: number, value: number, max: number, opts: Uint8Array): number;
  mapLookup(fd: number, key: Bytes, value: Uint8Array): number;
  mapUpdate(fd: number, key: Bytes, value: Uint8Array, flags: number): number;
  mapDelete(fd: number, key: Uint8Array): number;
  mapNextKey(fd: number, key: Bytes, next: Uint8Array): number;
  mapLookupAndDelete(fd: number, key: Bytes, value: Uint8Array): number;
  mapLookupBatch(
    fd: number,
    inBatch: Bytes,
    outBatch: Uint8Array,
    keys: Uint8Array,
    values: Uint8Array,
    count: Uint32Array,
    opts: Bytes,
  ): number;
  mapUpdateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: Uint32Array, opts: Bytes): number;
  mapDeleteBatch(fd: number, keys: Uint8Array, count: Uint32Array, opts: Bytes): number;
  objPin(fd: number, path: string): number;
  objGet(path: string): number;
  infoByFd(fd: number, info: Uint8Array, size: Uint32Array): number;
  mapFdById(id: number): number;
  linkCreate(programFd: number, target: number, attachType: number, opts: Bytes): number;
  linkUpdate(linkFd: number, programFd: number, opts: Bytes): number;
  linkDetach(linkFd: number): number;
  iterCreate(linkFd: number): number;
  tcHookCreate(hook: Uint8Array): number;
  tcHookDestroy(hook: Uint8Array): number;
  tcAttach(hook: Uint8Array, opts: Uint8Array): number;
  tcDetach(hook: Uint8Array, opts: Uint8Array): number;
  tcQuery(hook: Uint8Array, opts: Uint8Array): number;
}

export interface Libc {
  /** bpf(2) itself, for commands newer than the installed libbpf; undefined on architectures not known here. */
  bpf: ((command: number, attr: Uint8Array, size: number) => number) | undefined;
  ifNameToIndex(name: string): number;
  /** The name is written to `out`, which has 16 bytes; null when there is no such interface. */
  ifIndexToName(ifindex: number, out: Uint8Array): Pointer | null;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, size: number): number;
  setsockopt(fd: number, level: number, option: number, value: Uint8Array, size: number): number;
  recv(fd: number, out: Uint8Array, size: number, flags: number): number | bigint;
  sendto(
    fd: number,
    bytes: Uint8Array,
    size: number,
    flags: number,
    address: Uint8Array,
    addressSize: number,
  ): number | bigint;
  dup(fd: number): number;
  flock(fd: number, operation: number): number;
  pageSize(): number;
  mmap(address: null, length: number, protection: number, flags: number, fd: number, offset: number): Pointer;
  munmap(address: Pointer, length: number): number;
  formatArguments(out: Uint8Array, size: number, format: Pointer, list: Pointer): number;
}

const prototypes: Record<keyof Libbpf, string> = {
  versionString: 'const char *libbpf_version_string()',
  setPrint: 'void *libbpf_set_print(void *fn)',
  possibleCpus: 'int libbpf_num_possible_cpus()',
  objectOpenFile: 'void *bpf_object__open_file(const char *path, const void *opts)',
  objectOpenMem: 'void *bpf_object__open_mem(const void *buf, size_t size, const void *opts)',
  objectLoad: 'int bpf_object__load(void *obj)',
  objectClose: 'void bpf_object__close(void *obj)',
  objectName: 'const char *bpf_object__name(void *obj)',
  objectBtf: 'void *bpf_object__btf(void *obj)',
  objectFindMap: 'void *bpf_object__find_map_by_name(void *obj, const char *name)',
  objectFindProgram: 'void *bpf_object__find_program_by_name(void *obj, const char *name)',
  objectNextMap: 'void *bpf_object__next_map(void *obj, void *map)',
  objectNextProgram: 'void *bpf_object__next_program(void *obj, void *prog)',
  btfFind: 'int btf__find_by_name_kind(void *btf, const char *name, uint32_t kind)',
  btfType: 'void *btf__type_by_id(void *btf, uint32_t id)',
  btfName: 'const char *btf__name_by_offset(void *btf, uint32_t offset)',
  mapFd: 'int bpf_map__fd(void *map)',
  mapName: 'const char *bpf_map__name(void *map)',
  mapType: 'int bpf_map__type(void *map)',
  mapKeySize: 'uint32_t bpf_map__key_size(void *map)',
  mapValueSize: 'uint32_t bpf_map__value_size(void *map)',
  mapMaxEntries: 'uint32_t bpf_map__max_entries(void *map)',
  mapSetMaxEntries: 'int bpf_map__set_max_entries(void *map, uint32_t n)',
  mapSetPinPath: 'int bpf_map__set_pin_path(void *map, const char *path)',
  mapSetInnerFd: 'int bpf_map__set_inner_map_fd(void *map, int fd)',
  mapReuseFd: 'int bpf_map__reuse_fd(void *map, int fd)',
  mapSetAutocreate: 'int bpf_map__set_autocreate(void *map, bool on)',
  mapInitialValue: 'void *bpf_map__initial_value(void *map, void *size)',
  mapSetInitialValue: 'int bpf_map__set_initial_value(void *map, const void *data, size_t size)',
  programFd: 'int bpf_program__fd(void *prog)',
  programName: 'const char *bpf_program__name(void *prog)',
  programSetAutoload: 'int bpf_program__set_autoload(void *prog, bool on)',
  programAutoload: 'bool bpf_program__autoload(void *prog)',
  programSetLogBuf: 'int bpf_program__set_log_buf(void *prog, void *buf, size_t size)',
  programLoad:
    'int bpf_prog_load(int type, const char *name, const char *license, const void *insns, size_t n, void *opts)',
  programTestRun: 'int bpf_prog_test_run_opts(int fd, void *opts)',
  mapCreate:
    'int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t max, const void *opts)',
  mapLookup: 'int bpf_map_lookup_elem(int fd, const void *key, void *value)',
  mapUpdate: 'int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)',
  mapDelete: 'int bpf_map_delete_elem(int fd, const void *key)',
  mapNextKey: 'int bpf_map_get_next_key(int fd, const void *key, void *next)',
  mapLookupAndDelete: 'int bpf_map_lookup_and_delete_elem(int fd, const void *key, void *value)',
  mapLookupBatch:
    'int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, void *count, const void *opts)',
  mapUpdateBatch: 'int bpf_map_update_batch(int fd, const void *keys, const void *values, void *count, void *opts)',
  mapDeleteBatch: 'int bpf_map_delete_batch(int fd, const void *keys, void *count, void *opts)',
  objPin: 'int bpf_obj_pin(int fd, const char *path)',
  objGet: 'int bpf_obj_get(const char *path)',
  infoByFd: 'int bpf_obj_get_info_by_fd(int fd, void *info, void *size)',
  mapFdById: 'int bpf_map_get_fd_by_id(uint32_t id)',
  linkCreate: 'int bpf_link_create(int prog, int target, int type, const void *opts)',
  linkUpdate: 'int bpf_link_update(int link, int prog, const void *opts)',
  linkDetach: 'int bpf_link_detach(int link)',
  iterCreate: 'int bpf_iter_create(int link)',
  tcHookCreate: 'int bpf_tc_hook_create(void *hook)',
  tcHookDestroy: 'int bpf_tc_hook_destroy(void *hook)',
  tcAttach: 'int bpf_tc_attach(const void *hook, void *opts)',
  tcDetach: 'int bpf_tc_detach(const void *hook, const void *opts)',
  tcQuery: 'int bpf_tc_query(const void *hook, void *opts)',
};

/** System call number of bpf(2) per Node architecture name. */
const bpfSyscall: Readonly<Record<string, number>> = { x64: 321, arm64: 280, riscv64: 280, loong64: 280 };

const maxWarnings = 200;
let libbpfHandle: Libbpf | undefined;
let libcHandle: Libc | undefined;
let printCallback: Pointer | undefined;
let warningSink: string[] | undefined;

/** libbpf.so.1, loaded once. Throws LibbpfError `LIBBPF_MISSING`. */
export function libbpf(): Libbpf {
  if (libbpfHandle) return libbpfHandle;
  let library;
  try {
    library = koffi.load('libbpf.so.1');
  } catch (cause) {
    throw new LibbpfError(
      'LIBBPF_MISSING',
      'libbpf.so.1 cannot be loaded: install libbpf 1.1 or newer (Debian, Ubuntu: libbpf1; Fedora, Alpine: libbpf)',
      { cause },
    );
  }
  const functions: Record<string, unknown> = {};
  for (const [name, prototype] of Object.entries(prototypes)) {
    try {
      functions[name] = library.func(prototype);
    } catch (cause) {
      const message = `libbpf.so.1 is too old: ${prototype} is missing; install libbpf 1.1 or newer`;
      throw new LibbpfError('LIBBPF_MISSING', message, { cause });
    }
  }
  libbpfHandle = functions as unknown as Libbpf;
  // libbpf prints to stderr by itself; it stays silent outside `withWarnings`.
  libbpfHandle.setPrint(null);
  return libbpfHandle;
}

/** The few libc functions needed, loaded once. */
export function libc(): Libc {
  if (libcHandle) return libcHandle;
  const library = koffi.load(null);
  const number = bpfSyscall[arch];
  const syscall = library.func('long syscall(long number, int command, void *attr, uint32_t size)');
  libcHandle = {
    bpf: number === undefined ? undefined : (command, attr, size) => Number(syscall(number, command, attr, size)),
    ifNameToIndex: library.func('uint32_t if_nametoindex(const char *name)'),
    ifIndexToName: library.func('void *if_indextoname(uint32_t ifindex, void *name)'),
    socket: library.func('int socket(int domain, int type, int protocol)'),
    bind: library.func('int bind(int fd, const void *address, uint32_t size)'),
    setsockopt: library.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t size)'),
    recv: library.func('long recv(int fd, void *out, size_t size, int flags)'),
    sendto: library.func(
      'long sendto(int fd, const void *bytes, size_t size, int flags, const void *address, uint32_t addressSize)',
    ),
    dup: library.func('int dup(int fd)'),
    flock: library.func('int flock(int fd, int operation)'),
    pageSize: library.func('int getpagesize()'),
    mmap: library.func('void *mmap(void *addr, size_t len, int prot, int flags, int fd, int64_t off)'),
    munmap: library.func('int munmap(void *addr, size_t len)'),
    formatArguments: library.func('int vsnprintf(void *out, size_t size, void *format, void *list)'),
  };
  return libcHandle;
}

/** errno of the last C call on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Runs `call` and collects the warning lines libbpf prints meanwhile (without the `libbpf: ` in front). */
export function withWarnings<T>(call: () => T): { result: T; warnings: string[] } {
  const warnings: string[] = [];
  const outer = warningSink;
  printCallback ??= koffi.register(
    collectLine,
    koffi.pointer(koffi.proto('int libbpf_print(int level, void *format, void *list)')),
  );
  warningSink = warnings;
  libbpf().setPrint(printCallback);
  try {
    const result = call();
    return { result, warnings };
  } finally {
    warningSink = outer;
    if (!outer) libbpf().setPrint(null);
  }
}

// The va_list arrives as a pointer both on x86-64 (array type) and on arm64 (struct above 16 bytes), and vsnprintf
// takes it the same way.
function collectLine(level: number, format: Pointer, list: Pointer): number {
  // LIBBPF_WARN is 0; info and debug (1, 2) are dozens of lines per load.
  if (level !== 0 || !warningSink || warningSink.length >= maxWarnings) return 0;
  const line = Buffer.alloc(4096);
  const length = libc().formatArguments(line, line.length, format, list);
  const text = line.toString('utf8', 0, Math.max(0, Math.min(length, line.length - 1)));
  for (const part of text.trimEnd().split('\n')) warningSink.push(part.replace(/^libbpf: /, ''));
  return 0;
}
