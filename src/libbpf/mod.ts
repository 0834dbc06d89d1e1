// SPDX-License-Identifier: Apache-2.0
// Public surface of the libbpf binding.

export type { GlobalVariable } from './btf.ts';
export type { ClsactPlace } from './clsact.ts';
export { ClsactFilter } from './clsact.ts';
export type { LibbpfErrorOptions } from './errors.ts';
export { BpfLoadError, errnoMessage, errnoName, LibbpfError, UnsupportedFeatureError } from './errors.ts';
export {
  hasKernelBtf,
  ifIndexToName,
  ifNameToIndex,
  isBpffs,
  isTcxSupported,
  kernelAtLeast,
  kernelVersion,
  libbpfVersion,
} from './features.ts';
export { lockFile } from './file-lock.ts';
export type { IterateOptions } from './iter.ts';
export { iterateMap, MapIterator } from './iter.ts';
export type { Direction, MapTypeName, UpdateFlag } from './kinds.ts';
export { mapFlags, mapTypes } from './kinds.ts';
export type { TcxAttachOptions, TcxLinkInfo } from './link.ts';
export { TcxLink } from './link.ts';
export type { TcxProgram } from './tcx.ts';
export { programName, tcxPrograms } from './tcx.ts';
export type { MapBatch } from './map-batch.ts';
export type { MapCreateOptions } from './map.ts';
export { BpfMap, possibleCpus } from './map.ts';
export { ObjectMap, ObjectProgram } from './object-parts.ts';
export type { OpenOptions } from './object.ts';
export { BpfObject } from './object.ts';
export type { PacketSocketOptions } from './packet-socket.ts';
export { PacketSocket } from './packet-socket.ts';
export type { TestRunOptions, TestRunResult } from './program.ts';
export { BpfProgram } from './program.ts';
export type { RingBufferOptions } from './ringbuf.ts';
export { RingBuffer } from './ringbuf.ts';
export type { Codec } from './typed-map.ts';
export { TypedMap } from './typed-map.ts';
