// SPDX-License-Identifier: Apache-2.0
// The rooms of src/ and who may import whom, as docs/architecture.md tells it.

/** From the top down: a room imports rooms further down only. A name that ends in `.ts` is a file of its own. */
export const ROOMS = [
  'cli',
  'service.ts',
  'page',
  'reconciler.ts',
  'dns',
  'nat64',
  'names',
  'host',
  'datapath',
  'kernel-dns',
  'libbpf',
  'sockets',
  'plan',
  'import',
  'config',
  'telemetry',
  'model',
  'addr',
  'errors.ts',
] as const;

export type Room = (typeof ROOMS)[number];

/** What a room must not know although it stands further down, and why. */
export const FORBIDDEN: Readonly<Partial<Record<Room, { never: readonly Room[]; why: string }>>> = {
  cli: { never: ['libbpf'], why: 'only datapath knows libbpf' },
  'service.ts': { never: ['libbpf'], why: 'only datapath knows libbpf' },
  'reconciler.ts': { never: ['libbpf'], why: 'only datapath knows libbpf' },
  dns: { never: ['nat64', 'host', 'datapath', 'libbpf'], why: 'DNS64 works without a data plane' },
  nat64: { never: ['host', 'libbpf'], why: 'policy knows neither netlink nor BPF objects' },
  names: { never: ['host', 'datapath', 'libbpf'], why: 'names know neither half from the inside' },
  'kernel-dns': { never: ['plan', 'config', 'telemetry'], why: 'it holds what it is given' },
  datapath: {
    never: ['kernel-dns', 'plan', 'config', 'telemetry'],
    why: 'it carries out what it is told, whoever planned it',
  },
  page: { never: ['libbpf', 'dns', 'host'], why: 'it shows what it is given' },
  host: { never: ['libbpf'], why: 'only datapath knows libbpf' },
  import: { never: ['telemetry', 'model'], why: 'it turns text into text' },
  libbpf: {
    never: ['sockets', 'plan', 'config', 'telemetry', 'model', 'addr', 'errors.ts'],
    why: 'the binding stands alone',
  },
  sockets: {
    never: ['plan', 'import', 'config', 'telemetry', 'model', 'addr', 'errors.ts'],
    why: 'datagrams know nothing of gate64',
  },
};

/** Folders of src/ that hold no TypeScript. */
export const NO_ROOMS = ['launcher'];

/** Where `path` below src/ belongs; undefined when no room is called so. */
export function roomOf(path: string): Room | undefined {
  const first = path.split('/')[0] as string;
  return ROOMS.find((room) => room === first);
}

/** The sentence that says what is wrong when a file of `from` imports one of `to`; undefined when it may. */
export function complaint(from: Room, to: Room): string | undefined {
  if (from === to) return undefined;
  if (ROOMS.indexOf(to) < ROOMS.indexOf(from)) return `${from} imports upward from ${to}`;
  const rule = FORBIDDEN[from];
  return rule?.never.includes(to) === true ? `${from} imports ${to}: ${rule.why}` : undefined;
}

/** The relative specifiers that a module imports, re-exports or loads later. */
export function relativeImports(source: string): string[] {
  const found = source.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)(['"])(\.{1,2}\/[^'"]+)\1/g);
  return [...found].map(([, , specifier]) => specifier as string);
}

/** The circles of a graph of imports, each as `a → b → a`: one for every edge that leads back to where a walk is. */
export function circlesIn(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, way: readonly string[]): void => {
    if (way.includes(path)) {
      found.push([...way.slice(way.indexOf(path)), path].join(' → '));
      return;
    }
    if (done.has(path)) return;
    for (const next of imports.get(path) ?? []) walk(next, [...way, path]);
    done.add(path);
  };
  for (const path of imports.keys()) walk(path, []);
  return found;
}
