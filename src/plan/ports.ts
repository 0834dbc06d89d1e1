// SPDX-License-Identifier: Apache-2.0
// Lists of ports as sysctls write them.

/** "8080,9148-9150" → ports. */
export function parsePortList(text: string): Set<number> {
  const ports = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part);
    if (match === null) continue;
    const last = Math.min(65535, Number(match[2] ?? match[1]));
    for (let port = Number(match[1]); port <= last; port++) ports.add(port);
  }
  return ports;
}

/** Ports → "8080,9148-9150", ascending. */
export function formatPortList(ports: ReadonlySet<number>): string {
  const runs: [number, number][] = [];
  for (const port of [...ports].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === port - 1) last[1] = port;
    else runs.push([port, port]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
