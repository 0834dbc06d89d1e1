// SPDX-License-Identifier: Apache-2.0
// What says that a descriptor may be read: a libuv poll handle, or a timer where there is none.

import koffi from 'koffi';

export interface Wake {
  ref(): void;
  unref(): void;
  close(): void;
}

/** `onReadable` runs from a native callback, which it has to leave at once; where poll cannot be had, from a timer. */
export function pollWake(fd: number, timerMs: number, onReadable: () => void): Wake {
  try {
    return koffi.node.poll(fd, { readable: true }, onReadable);
  } catch {
    // No libuv symbols in this runtime, or a kernel object that cannot be polled.
    return timerWake(timerMs, onReadable);
  }
}

export function timerWake(timerMs: number, onReadable: () => void): Wake {
  const timer = setInterval(onReadable, timerMs);
  return { ref: () => timer.ref(), unref: () => timer.unref(), close: () => clearInterval(timer) };
}
