// SPDX-License-Identifier: Apache-2.0
// Numbers and structures of socket(2) that its kinds here have in common, as on x86-64 and arm64.

import { AF_INET6 } from './address-text.ts';
import { lastErrno, socketCalls, socketError } from './ffi.ts';

export const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
export const SOL_SOCKET = 1;
export const SO_RCVBUF = 8;

const ENODEV = 19;

/** Throws an Error with the errno's name for its `code`. */
export function setOption(fd: number, level: number, option: number, value: number): void {
  const bytes = new Uint8Array(Int32Array.of(value).buffer);
  if (socketCalls().setsockopt(fd, level, option, bytes, bytes.length) !== 0) {
    throw socketError('setsockopt', lastErrno());
  }
}

/** Port that the socket has; `name`, as of `socketName`, is overwritten with its own. Throws as `setOption`. */
export function ownPort(fd: number, name: Uint8Array): number {
  if (socketCalls().getsockname(fd, name, Uint32Array.of(name.length)) !== 0) {
    throw socketError('getsockname', lastErrno());
  }
  return ((name[2] as number) << 8) | (name[3] as number);
}

/** struct sockaddr_in or sockaddr_in6; `zone` is the interface of a link-local address. */
export function socketName(
  family: number,
  { address, zone, port }: { readonly address: Uint8Array; readonly zone?: string | undefined; readonly port: number },
): Uint8Array {
  const bytes = new Uint8Array(family === AF_INET6 ? 28 : 16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family, true);
  view.setUint16(2, port, false);
  bytes.set(address, family === AF_INET6 ? 8 : 4);
  if (zone === undefined || family !== AF_INET6) return bytes;
  const ifindex = /^\d+$/.test(zone) ? Number(zone) : socketCalls().ifNameToIndex(zone);
  if (ifindex === 0) throw socketError('if_nametoindex', ENODEV);
  view.setUint32(24, ifindex, true);
  return bytes;
}
