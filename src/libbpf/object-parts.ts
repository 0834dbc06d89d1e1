// SPDX-License-Identifier: Apache-2.0
// Maps and programs of an object: what may be changed before load, and the descriptor they get from load.

import { checkBoolean, checkFd, checkString, checkU32 } from './check.ts';
import { LibbpfError, systemError } from './errors.ts';
import type { Pointer } from './ffi.ts';
import { libbpf } from './ffi.ts';
import type { MapShape } from './map.ts';
import { BpfMap } from './map.ts';
import { BpfProgram } from './program.ts';

/** A map of an object. The setters work between open and load and give the map back. */
export class ObjectMap extends BpfMap {
  readonly #map: Pointer;
  readonly #editable: () => boolean;

  constructor(map: Pointer, editable: () => boolean) {
    super(shapeOfPointer(map), -1, false);
    this.#map = map;
    this.#editable = editable;
  }

  setMaxEntries(count: number): this {
    checkU32('max entries', count);
    return this.#edit('max_entries', () => libbpf().mapSetMaxEntries(this.#map, count));
  }

  /** At load, a map pinned there is used with its entries; otherwise the new one is pinned there. */
  setPinPath(path: string): this {
    checkString('pin path', path);
    return this.#edit('pin path', () => libbpf().mapSetPinPath(this.#map, path));
  }

  /** Template for the values of a map of maps: another map or its descriptor, open until load. */
  setInnerMap(inner: BpfMap | number): this {
    const fd = typeof inner === 'number' ? checkFd('inner map', inner) : inner.fd;
    return this.#edit('inner map', () => libbpf().mapSetInnerFd(this.#map, fd));
  }

  /** Uses a map that exists already in place of a new one; libbpf duplicates the descriptor. */
  reuseFd(fd: number): this {
    checkFd('map descriptor', fd);
    return this.#edit('descriptor', () => libbpf().mapReuseFd(this.#map, fd));
  }

  /** Whether load creates the map; programs that use one left out are refused by the verifier. */
  setAutocreate(on: boolean): this {
    checkBoolean('autocreate', on);
    return this.#edit('autocreate', () => libbpf().mapSetAutocreate(this.#map, on));
  }

  /** For BpfObject: takes over the descriptor after load. */
  loaded(): void {
    this.shape = { ...shapeOfPointer(this.#map), name: this.name };
    this.bind(libbpf().mapFd(this.#map));
  }

  #edit(what: string, call: () => number): this {
    requireEditable(this.#editable, `map ${this.name}`);
    const result = call();
    if (result < 0) throw systemError(`cannot set ${what} of map ${this.name}`, result);
    this.shape = { ...shapeOfPointer(this.#map), name: this.name };
    return this;
  }
}

/** A program of an object. */
export class ObjectProgram extends BpfProgram {
  readonly #program: Pointer;
  readonly #editable: () => boolean;

  constructor(program: Pointer, editable: () => boolean) {
    super(libbpf().programName(program), -1, false);
    this.#program = program;
    this.#editable = editable;
  }

  get autoload(): boolean {
    requireEditable(this.#editable, `program ${this.name}`);
    return libbpf().programAutoload(this.#program);
  }

  /** Whether load loads the program. Only before load. */
  setAutoload(on: boolean): this {
    checkBoolean('autoload', on);
    requireEditable(this.#editable, `program ${this.name}`);
    const result = libbpf().programSetAutoload(this.#program, on);
    if (result < 0) throw systemError(`cannot set autoload of program ${this.name}`, result);
    return this;
  }

  /** For BpfObject: takes over the descriptor after load. */
  loaded(): void {
    this.bind(libbpf().programFd(this.#program));
  }
}

function shapeOfPointer(map: Pointer): MapShape {
  const lib = libbpf();
  return {
    name: lib.mapName(map),
    type: lib.mapType(map),
    keySize: lib.mapKeySize(map),
    valueSize: lib.mapValueSize(map),
    maxEntries: lib.mapMaxEntries(map),
  };
}

function requireEditable(editable: () => boolean, what: string): void {
  if (!editable()) throw new LibbpfError('LIBBPF_STATE', `cannot change ${what}: its object is loaded or closed`);
}
