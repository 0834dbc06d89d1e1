// SPDX-License-Identifier: Apache-2.0
// A compiled BPF object: open, edit (constants, map sizes, pins, which programs), load, use its maps and programs.

import koffi from 'koffi';
import { checkBytes, checkInt, checkSized, checkString } from './check.ts';
import type { GlobalVariable } from './btf.ts';
import { findVariable } from './btf.ts';
import { BpfLoadError, LibbpfError, systemError } from './errors.ts';
import type { Pointer } from './ffi.ts';
import { lastErrno, libbpf, withWarnings } from './ffi.ts';
import { openOpts, StructBuffer } from './layouts.ts';
import { ObjectMap, ObjectProgram } from './object-parts.ts';

export interface OpenOptions {
  /** Name of the object, in front of the names of its data maps; default: the file's. Needed for bytes. */
  name?: string;
}

// One buffer for all programs: they load one after another and only a refused one writes. The pages are not touched
// otherwise. Before Linux 6.4 a log that does not fit is cut at its end, which is where the reason is.
const verifierLogBytes = 16 << 20;

export class BpfObject implements Disposable {
  readonly name: string;
  #object: Pointer | null;
  #state: 'open' | 'loaded' | 'failed' | 'closed' = 'open';
  // By name as asked for: libbpf renames a map after the one it reuses.
  readonly #maps = new Map<string, ObjectMap>();
  readonly #programs = new Map<string, ObjectProgram>();

  private constructor(object: Pointer) {
    this.#object = object;
    this.name = libbpf().objectName(object);
  }

  /** Reads an object file (or its bytes) without touching the kernel. Throws LibbpfError (`ENOENT`, `EINVAL`, …). */
  static open(source: string | Uint8Array, options: OpenOptions = {}): BpfObject {
    const opts = new StructBuffer(openOpts);
    // Names are copied by libbpf during the call.
    if (options.name !== undefined) {
      opts.point('object_name', Buffer.from(`${checkString('object name', options.name)}\0`));
    }
    const lib = libbpf();
    const { result, warnings } = withWarnings(() => {
      const object =
        typeof source === 'string'
          ? lib.objectOpenFile(checkString('object path', source), opts.bytes)
          : lib.objectOpenMem(checkBytes('object bytes', source), source.length, opts.bytes);
      return { object, errno: object === null ? lastErrno() : 0 };
    });
    if (result.object === null) {
      const what = typeof source === 'string' ? source : `${source.length} bytes`;
      throw systemError(`cannot open BPF object ${what}`, result.errno, warnings);
    }
    return new BpfObject(result.object);
  }

  /** Names of all maps, data sections included. */
  get mapNames(): string[] {
    const names: string[] = [];
    const object = this.#pointer();
    for (let map = libbpf().objectNextMap(object, null); map; map = libbpf().objectNextMap(object, map)) {
      names.push(libbpf().mapName(map));
    }
    return names;
  }

  get programNames(): string[] {
    return [...this.#programPointers()].map((program) => libbpf().programName(program));
  }

  /** The map of that name; `.rodata`, `.data` and `.bss` find the data sections. Throws `LIBBPF_NOT_FOUND`. */
  map(name: string): ObjectMap {
    const object = this.#pointer();
    let map = this.#maps.get(checkString('map name', name));
    if (map) return map;
    const pointer = libbpf().objectFindMap(object, name);
    if (!pointer) throw this.#missing('map', name, this.mapNames);
    map = new ObjectMap(pointer, () => this.#state === 'open');
    this.#maps.set(name, map);
    if (this.#state === 'loaded') map.loaded();
    return map;
  }

  /** The program (C function) of that name. Throws `LIBBPF_NOT_FOUND`. */
  program(name: string): ObjectProgram {
    const object = this.#pointer();
    let program = this.#programs.get(checkString('program name', name));
    if (program) return program;
    const pointer = libbpf().objectFindProgram(object, name);
    if (!pointer) throw this.#missing('program', name, this.programNames);
    program = new ObjectProgram(pointer, () => this.#state === 'open');
    this.#programs.set(name, program);
    if (this.#state === 'loaded') program.loaded();
    return program;
  }

  /** Copy of the initial value of `.rodata` (or another data section). Only before load. */
  rodata(section = '.rodata'): Buffer {
    const map = this.#sectionMap(section);
    const size = new BigUint64Array(1);
    const value = libbpf().mapInitialValue(map, size);
    if (value === null) throw new LibbpfError('LIBBPF_NOT_FOUND', `section ${section} has no initial value`);
    // A copy: load remaps the memory read-only, where a write through a kept view would end the process.
    return Buffer.from(new Uint8Array(koffi.view(value, Number(size[0]))));
  }

  /** Overwrites part of the initial value of `.rodata` (or another data section). Only before load. */
  setRodata(bytes: Uint8Array, offset = 0, section = '.rodata'): this {
    const current = this.rodata(section);
    checkBytes('section bytes', bytes);
    checkInt('offset', offset, 0, current.length - Math.min(bytes.length, current.length));
    if (bytes.length > current.length) {
      throw new RangeError(`${bytes.length} bytes do not fit: section ${section} has ${current.length}`);
    }
    current.set(bytes, offset);
    const result = libbpf().mapSetInitialValue(this.#sectionMap(section), current, current.length);
    if (result < 0) throw systemError(`cannot edit section ${section}`, result);
    return this;
  }

  /** Where a global variable lies, from BTF (compile with -g). Throws `LIBBPF_NOT_FOUND`. */
  variable(name: string): GlobalVariable {
    const found = findVariable(this.#pointer(), checkString('variable name', name));
    if (found) return found;
    throw new LibbpfError(
      'LIBBPF_NOT_FOUND',
      `object ${this.name} has no global variable ${name} (is it built with -g?)`,
    );
  }

  /** Overwrites the initial value of a global variable; `bytes` must have its size. Only before load. */
  setVariable(name: string, bytes: Uint8Array): this {
    const { section, offset, size } = this.variable(name);
    return this.setRodata(checkSized(`value of ${name}`, bytes, size), offset, section);
  }

  /**
   * Creates the maps, opens pinned ones, loads the programs. Once only. Throws BpfLoadError with the verifier's words.
   * A pinned map of another size or type makes it fail with EINVAL; `warnings` then names the pin.
   */
  load(): this {
    const object = this.#pointer();
    this.#requireOpen('load');
    const lib = libbpf();
    const log = Buffer.allocUnsafeSlow(verifierLogBytes);
    log[0] = 0;
    for (const program of this.#programPointers()) lib.programSetLogBuf(program, log, log.length);
    const { result, warnings } = withWarnings(() => lib.objectLoad(object));
    // libbpf must not keep the address of memory that is about to be collected.
    for (const program of this.#programPointers()) lib.programSetLogBuf(program, null, 0);
    if (result < 0) {
      this.#state = 'failed';
      const refused = warnings.map((line) => /^prog '([^']+)': BPF program load failed/.exec(line)?.[1]);
      throw new BpfLoadError(this.name, {
        errno: -result,
        program: refused.find((name) => name !== undefined),
        verifierLog: log.toString('utf8', 0, Math.max(0, log.indexOf(0))),
        warnings,
      });
    }
    this.#state = 'loaded';
    for (const map of this.#maps.values()) map.loaded();
    for (const program of this.#programs.values()) program.loaded();
    return this;
  }

  /** Closes all descriptors. Pinned maps, programs and links stay; so do attached links as long as they are open. */
  close(): void {
    if (this.#object === null) return;
    for (const map of this.#maps.values()) map.close();
    for (const program of this.#programs.values()) program.close();
    libbpf().objectClose(this.#object);
    this.#object = null;
    this.#state = 'closed';
  }

  [Symbol.dispose](): void {
    this.close();
  }

  *#programPointers(): IterableIterator<Pointer> {
    const object = this.#pointer();
    for (let p = libbpf().objectNextProgram(object, null); p; p = libbpf().objectNextProgram(object, p)) yield p;
  }

  #sectionMap(section: string): Pointer {
    const object = this.#pointer();
    this.#requireOpen(`edit ${section}`);
    const map = libbpf().objectFindMap(object, checkString('section', section));
    if (!map) throw this.#missing('section', section, this.mapNames);
    return map;
  }

  #pointer(): Pointer {
    if (this.#object === null) throw new LibbpfError('LIBBPF_STATE', `object ${this.name} is closed`);
    return this.#object;
  }

  #requireOpen(what: string): void {
    if (this.#state !== 'open') {
      throw new LibbpfError('LIBBPF_STATE', `cannot ${what}: object ${this.name} is ${this.#state}`);
    }
  }

  #missing(kind: string, name: string, known: string[]): LibbpfError {
    return new LibbpfError(
      'LIBBPF_NOT_FOUND',
      `object ${this.name} has no ${kind} ${name}; it has ${known.join(', ')}`,
    );
  }
}
