// SPDX-License-Identifier: Apache-2.0
// Frames of every chain of calls fit the BPF stack as Linux 6.1 counts: each frame rounded up to 32 bytes, callbacks
// included. Later kernels round to 16 and would not show what 6.1 refuses (`make test-kernels` asks 6.1 itself).

import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { OBJECT } from './plane.ts';

const STACK_BYTES = 512;
const FRAME_BYTES = 32;
const INSTRUCTION_BYTES = 8;
/** Instruction set: RFC 9669. */
const [LOAD, STORE, STORE_REGISTER, ADD_IMMEDIATE, CALL] = [0x01, 0x02, 0x03, 0x07, 0x85];
const PSEUDO_CALL = 1;
const FRAME_POINTER = 10;
const PROGRAMS = ['n64_gate', 'n64_uplink', 'n64_accel', 'n64_sweep', 'n64_reclaim'];

interface Code {
  /** Bytes of stack that it names. */
  bytes: number;
  /** Callees: by name, or by the instruction of .text where they start. */
  readonly calls: (string | number)[];
}

/** Functions of the object, and those of .text by their first instruction. */
function disassemble(text: string): { functions: Map<string, Code>; inText: Map<number, string> } {
  const functions = new Map<string, Code>();
  const inText = new Map<number, string>();
  let section = '';
  let code: Code = { bytes: 0, calls: [] };
  let immediate = 0;
  for (const line of text.split('\n')) {
    const [, start, name] = /^([0-9a-f]+) <(.+)>:$/.exec(line) ?? [];
    section = /^Disassembly of section (.+):$/.exec(line)?.[1] ?? section;
    if (name?.startsWith('LBB') === false) {
      code = { bytes: 0, calls: [] };
      functions.set(name, code);
      if (section === '.text') inText.set(Number.parseInt(start as string, 16) / INSTRUCTION_BYTES, name);
    }
    const [, at, bytes] = /^\s+(\d+):\s+((?:[0-9a-f]{2} ){7}[0-9a-f]{2})/.exec(line) ?? [];
    const [, type, symbol] = /R_BPF_64_(32|64)\s+(\S+)/.exec(line) ?? [];
    if (symbol === '.text') code.calls.push(type === '32' ? immediate + 1 : immediate / INSTRUCTION_BYTES);
    else if (symbol !== undefined) code.calls.push(symbol);
    if (at === undefined || bytes === undefined) continue;
    const instruction = Buffer.from(bytes.replaceAll(' ', ''), 'hex');
    const [operation = 0, registers = 0] = instruction;
    immediate = instruction.readInt32LE(4);
    code.bytes = Math.max(code.bytes, depth(instruction));
    const isLocalCall = operation === CALL && registers >> 4 === PSEUDO_CALL;
    if (section === '.text' && isLocalCall) code.calls.push(Number(at) + immediate + 1);
  }
  return { functions, inText };
}

/** How far below the frame pointer an instruction reaches, as far as it shows: an access, or an address made there. */
function depth(instruction: Buffer): number {
  const [operation = 0, registers = 0] = instruction;
  const kind = operation & 7;
  const base = kind === LOAD ? registers >> 4 : registers & 15;
  if ((kind === LOAD || kind === STORE || kind === STORE_REGISTER) && base === FRAME_POINTER) {
    return -instruction.readInt16LE(2);
  }
  const added = operation === ADD_IMMEDIATE ? -instruction.readInt32LE(4) : 0;
  return added <= STACK_BYTES ? added : 0;
}

describe('stack', () => {
  const { functions, inText } = disassemble(
    execFileSync('llvm-objdump', ['-dr', OBJECT], {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    }),
  );

  function deepest(name: string): { bytes: number; chain: string[] } {
    const code = functions.get(name);
    if (code === undefined) return { bytes: 0, chain: [] };
    const callees = new Set(code.calls.map((callee) => (typeof callee === 'number' ? inText.get(callee) : callee)));
    callees.delete(name);
    let worst: { bytes: number; chain: string[] } = { bytes: 0, chain: [] };
    for (const callee of callees) {
      const below = deepest(callee ?? '');
      if (below.bytes > worst.bytes) worst = below;
    }
    const frame = Math.ceil(Math.max(code.bytes, 1) / FRAME_BYTES) * FRAME_BYTES;
    return { bytes: frame + worst.bytes, chain: [`${name} ${code.bytes}`, ...worst.chain] };
  }

  for (const program of PROGRAMS) {
    it(`${program} keeps to ${STACK_BYTES} bytes`, () => {
      const { bytes, chain } = deepest(program);
      expect(chain.length, 'its calls were found').to.be.greaterThan(1);
      expect(bytes, chain.join(' → ')).to.be.at.most(STACK_BYTES);
    });
  }
});
