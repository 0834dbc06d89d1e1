// SPDX-License-Identifier: Apache-2.0
// What says that a descriptor may be read: a libuv poll handle, or a timer where there is none.

import koffi from 'koffi';

export interface Wake {
  ref(): void;
  unref(): void;
  close(): void;
}

// Keeps those alive whose owner forgot them: a collected poll handle would stop silently.
const open = new Set<Wake>();

/** `onReadable` runs from a native callback, which it has to leave at once; where poll cannot be had, from a timer. */
export function pollWake(fd: number, timerMs: number, onReadable: () => void): Wake {
  try {
    const poll = koffi.node.poll(fd, { readable: true }, onReadable);
    if (open.size === 0) process.once('exit', closeAll);
    const wake = {
      ref: () => poll.ref(),
      unref: () => poll.unref(),
      close: () => {
        if (open.delete(wake) && open.size === 0) process.off('exit', closeAll);
        poll.close();
      },
    };
    open.add(wake);
    return wake;
  } catch {
    // No libuv symbols in this runtime, or a kernel object that cannot be polled.
    return timerWake(timerMs, onReadable);
  }
}

// One that keeps nothing alive may be open when the process ends; called after that, it would end it as a crash.
function closeAll(): void {
  for (const wake of open) wake.close();
}

export function timerWake(timerMs: number, onReadable: () => void): Wake {
  const timer = setInterval(onReadable, timerMs);
  return { ref: () => timer.ref(), unref: () => timer.unref(), close: () => clearInterval(timer) };
}
