// SPDX-License-Identifier: Apache-2.0
// The C functions of a datagram socket, loaded on first use. Nothing here checks arguments; callers do.

import { constants } from 'node:os';
import koffi from 'koffi';

export interface SocketCalls {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, size: number): number;
  connect(fd: number, address: Uint8Array, size: number): number;
  getsockname(fd: number, address: Uint8Array, size: Uint32Array): number;
  setsockopt(fd: number, level: number, option: number, value: Uint8Array, size: number): number;
  recvmmsg(fd: number, headers: Uint8Array, count: number, flags: number, timeout: null): number;
  sendmmsg(fd: number, headers: bigint, count: number, flags: number): number;
  inetNtop(family: number, address: Uint8Array, out: Uint8Array, size: number): bigint | null;
  ifIndexToName(ifindex: number, out: Uint8Array): bigint | null;
  ifNameToIndex(name: string): number;
  /** memmove of nothing: gives back where `bytes` lies. */
  addressOf(bytes: Uint8Array, same: Uint8Array, none: 0): bigint;
}

/** Nothing waits, or no room is left. */
export const EAGAIN = 11;

let calls: SocketCalls | undefined;

export function socketCalls(): SocketCalls {
  if (calls) return calls;
  const library = koffi.load(null);
  calls = {
    socket: library.func('int socket(int domain, int type, int protocol)'),
    bind: library.func('int bind(int fd, const void *address, uint32_t size)'),
    connect: library.func('int connect(int fd, const void *address, uint32_t size)'),
    getsockname: library.func('int getsockname(int fd, void *address, void *size)'),
    setsockopt: library.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t size)'),
    recvmmsg: library.func('int recvmmsg(int fd, void *headers, uint32_t count, int flags, void *timeout)'),
    sendmmsg: library.func('int sendmmsg(int fd, void *headers, uint32_t count, int flags)'),
    inetNtop: library.func('void *inet_ntop(int family, const void *address, void *out, uint32_t size)'),
    ifIndexToName: library.func('void *if_indextoname(uint32_t ifindex, void *name)'),
    ifNameToIndex: library.func('uint32_t if_nametoindex(const char *name)'),
    addressOf: library.func('void *memmove(void *to, const void *from, size_t size)'),
  };
  return calls;
}

const NAMES = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** errno of the last call on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

/** A failed call, with the errno's name for its `code` as Node's own errors have. */
export function socketError(call: string, errno: number): Error {
  const code = NAMES.get(errno) ?? `E${errno}`;
  return Object.assign(new Error(`${call}: ${code}`), { code, errno });
}

export interface Poll {
  /** Keeps the process alive no more. */
  unref(): void;
  close(): void;
}

const open = new Set<Poll>();

/** Calls `onReadable` from native code, which it has to leave at once. Throws where the runtime lacks libuv's symbols. */
export function poll(fd: number, onReadable: () => void): Poll {
  const handle = koffi.node.poll(fd, { readable: true }, onReadable);
  if (open.size === 0) process.once('exit', closeAll);
  const one = {
    unref: () => handle.unref(),
    close: () => {
      if (open.delete(one) && open.size === 0) process.off('exit', closeAll);
      handle.close();
    },
  };
  open.add(one);
  return one;
}

// One that keeps nothing alive may be open when the process ends; closed by koffi after that, it would end it as a crash.
function closeAll(): void {
  for (const one of open) one.close();
}
