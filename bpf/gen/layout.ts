// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Makes src/model/layout.gen.ts and dns-layout.gen.ts: codecs of the structs that TypeScript shares with the programs, from
// the BTF of the built objects, and the constants of types.h and dns_types.h. `make types` runs it; --check tells whether
// they are fresh.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { emit } from './emit.ts';

interface Member {
  readonly name: string;
  readonly type_id: number;
  readonly bits_offset: number;
}

interface BtfType {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly type_id?: number;
  readonly nr_elems?: number;
  readonly members?: readonly Member[];
}

/** In the order they are written; a struct that another contains comes first. */
const STRUCTS = [
  'prefix',
  'config',
  'flow6_key',
  'flow6',
  'flow4_key',
  'flow4',
  'session_record',
  'turn',
  'bib6_key',
  'bib6',
  'bib4_key',
  'bib4',
  'peer_key',
  'peer',
  'pod',
  'block',
  'block_record',
  'lpm4_key',
  'lpm6_key',
  'pool_address',
  'frag_key',
  'frag',
  'hold',
  'counter',
  'drop_sample',
  'event',
  'watching',
  'watched',
  'watched_drop',
  'watched_session',
  'watched_lease',
];

const DNS_STRUCTS = ['dns_question', 'dns_answer', 'dns_told', 'dns_state'];

let byId = new Map<number, BtfType>();

function readBtf(name: string): void {
  const object = fileURLToPath(new URL(`../../.output/${name}`, import.meta.url));
  const dump = execFileSync('bpftool', ['-j', 'btf', 'dump', 'file', object, 'format', 'raw'], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  byId = new Map((JSON.parse(dump) as { types: BtfType[] }).types.map((type) => [type.id, type]));
}

function resolve(id: number): BtfType {
  const type = byId.get(id);
  if (!type) throw new Error(`BTF has no type ${id}`);
  return ['TYPEDEF', 'CONST', 'VOLATILE'].includes(type.kind) ? resolve(type.type_id ?? 0) : type;
}

const camel = (name: string) => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
const structName = (name: string) => {
  const camelled = camel(name.replace(/^n64_/, ''));
  return camelled.charAt(0).toUpperCase() + camelled.slice(1);
};

interface Field {
  readonly type: string;
  readonly size: number;
  read(offset: string): string;
  write(offset: string, value: string): string[];
}

const at = (offset: string, more: string | number) => (more === 0 ? offset : `${offset} + ${more}`);

function field(id: number, networkOrder: boolean, depth = 0): Field {
  const type = resolve(id);
  if (type.kind === 'INT') {
    const size = type.size ?? 0;
    const method = { 1: 'Uint8', 2: 'Uint16', 4: 'Uint32', 8: 'BigUint64' }[size];
    if (!method) throw new Error(`no codec for an integer of ${size} bytes`);
    const order = size === 1 ? '' : `, ${!networkOrder}`;
    return {
      type: size === 8 ? 'bigint' : 'number',
      size,
      read: (offset) => `view.get${method}(${offset}${order})`,
      write: (offset, value) => [`view.set${method}(${offset}, ${value}${order});`],
    };
  }
  if (type.kind === 'STRUCT') {
    const name = structName(type.name);
    return {
      type: name,
      size: type.size ?? 0,
      read: (offset) => `${camelFirst(name)}Codec.read(view, ${offset})`,
      write: (offset, value) => [`${camelFirst(name)}Codec.write(view, ${offset}, ${value});`],
    };
  }
  if (type.kind === 'ARRAY') {
    const element = field(type.type_id ?? 0, networkOrder, depth + 1);
    const i = `i${depth || ''}`;
    const one = `element${depth || ''}`;
    const count = type.nr_elems ?? 0;
    const size = element.size * count;
    if (element.type === 'number' && element.size === 1) {
      return {
        type: 'Uint8Array',
        size,
        read: (offset) => `bytes(view, ${offset}, ${count})`,
        write: (offset, value) => [`setBytes(view, ${offset}, ${value}, ${count});`],
      };
    }
    return {
      type: `readonly ${/[ |]/.test(element.type) ? `(${element.type})` : element.type}[]`,
      size,
      read: (offset) => `repeat(${count}, (${i}) => ${element.read(`${offset} + ${element.size} * ${i}`)})`,
      write: (offset, value) => [
        `${value}.forEach((${one}, ${i}) => ${element.write(`${offset} + ${element.size} * ${i}`, one)[0]?.replace(/;$/, '')});`,
      ],
    };
  }
  throw new Error(`no codec for BTF kind ${type.kind}`);
}

function camelFirst(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}

function struct(name: string): string[] {
  const type = [...byId.values()].find((one) => one.kind === 'STRUCT' && one.name === `n64_${name}`);
  if (!type) throw new Error(`BTF has no struct n64_${name}: nothing in the object uses it`);
  const fields = (type.members ?? [])
    .filter((member) => !/^zero\d*$/.test(member.name))
    .map((member) => {
      const networkOrder = member.name.endsWith('_be');
      return {
        name: camel(member.name.replace(/_be$/, '')),
        offset: member.bits_offset / 8,
        ...field(member.type_id, networkOrder),
      };
    });
  const pascal = structName(type.name);
  return [
    `export interface ${pascal} {`,
    ...fields.map((one) => `  readonly ${one.name}: ${one.type};`),
    '}',
    '',
    `export const ${camelFirst(pascal)}Codec = {`,
    `  size: ${type.size},`,
    `  read(view: DataView, offset: number): ${pascal} {`,
    '    return {',
    ...fields.map((one) => `      ${one.name}: ${one.read(at('offset', one.offset))},`),
    '    };',
    '  },',
    `  write(view: DataView, offset: number, value: ${pascal}): void {`,
    `    clear(view, offset, ${type.size});`,
    ...fields.flatMap((one) => one.write(at('offset', one.offset), `value.${one.name}`).map((line) => `    ${line}`)),
    '  },',
    '};',
    '',
  ];
}

/** #defines that are plain numbers, and enums. */
function constants(header: string): string[] {
  const source = readFileSync(new URL(`../${header}`, import.meta.url), 'utf8');
  const lines: string[] = [];
  for (const [, name, value] of source.matchAll(/^#define N64_(\w+) (0x[0-9a-f]+|\d+)u?$/gm)) {
    lines.push(`export const ${name} = ${value};`);
  }
  lines.push('');
  for (const [, name, body] of source.matchAll(/^enum n64_(\w+) \{([^}]*)\}/gm)) {
    let next = 0;
    lines.push(`export const ${name?.toUpperCase()} = {`);
    for (const [, entry, value] of (body as string).matchAll(/\bN64_(\w+)(?: = (\d+))?,/g)) {
      if (value !== undefined) next = Number(value);
      lines.push(`  ${/^\d/.test(entry as string) ? `'${entry}'` : entry}: ${next},`);
      next += 1;
    }
    lines.push('} as const;', '');
  }
  return lines;
}

function emitLayout(path: string, object: string, header: string, structs: readonly string[]): void {
  readBtf(object);
  emit(
    path,
    `the BTF of .output/${object}`,
    [
      "// Offsets and sizes are the compiler's. Padding is written as zero, since map keys are compared whole.",
      '// Fields that the programs hold in network order are plain numbers here.',
      '',
      "import { bytes, clear, repeat, setBytes } from './codecs.ts';",
      '',
      ...constants(header),
      ...structs.flatMap((name) => struct(name)),
    ]
      .join('\n')
      .trimEnd(),
  );
}

emitLayout('../../src/model/layout.gen.ts', 'nat64.bpf.o', 'types.h', STRUCTS);
emitLayout('../../src/model/dns-layout.gen.ts', 'dns.bpf.o', 'dns_types.h', DNS_STRUCTS);
