// SPDX-License-Identifier: Apache-2.0
// What a process has taken, as proc(5) tells.

import { readFileSync } from 'node:fs';

/** Seconds of processor time so far, of all its threads. */
export function processorSeconds(pid: number): { readonly user: number; readonly system: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // Fields are counted from behind the name, which may hold blanks; 14 and 15, in ticks of 10 ms.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { user: Number(fields[11]) / 100, system: Number(fields[12]) / 100 };
}

/** Seconds that all processors together have not been idle, interrupts included. */
export function busySeconds(): number {
  // user nice system idle iowait irq softirq steal, in ticks of 10 ms; steal is another machine's.
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)
    .join('')
    .split(/ +/)
    .map(Number);
  return (user + nice + system + irq + softirq) / 100;
}

/** Resident memory, now or the most so far. */
export function residentMiB(pid: number, field: 'VmRSS' | 'VmHWM' | 'RssAnon' = 'VmRSS'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024;
}
