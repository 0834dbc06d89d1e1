// SPDX-License-Identifier: Apache-2.0
// What the binding does without the kernel and without root: opening, editing, refusing bad arguments.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import * as fc from 'fast-check';
import {
  ClsactFilter,
  TcxLink,
  BpfMap,
  BpfObject,
  errnoName,
  ifNameToIndex,
  kernelAtLeast,
  kernelVersion,
  libbpfVersion,
  LibbpfError,
  UnsupportedFeatureError,
} from '../../../src/libbpf/mod.ts';
import { checkInt, checkString } from '../../../src/libbpf/check.ts';
import { StructBuffer, tcOpts } from '../../../src/libbpf/layouts.ts';
import { compile } from '../../bpf/libbpf/compile.ts';
import { holds } from '../../helpers/property.ts';

const thrown = (call: () => unknown): LibbpfError => {
  try {
    call();
  } catch (error) {
    if (error instanceof LibbpfError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

function runScript(body: string, env: NodeJS.ProcessEnv = {}): [stdout: string, stderr: string] {
  const module = join(import.meta.dirname, '../../../src/libbpf/mod.ts');
  const script = `import { BpfObject } from ${JSON.stringify(module)};\n${body}`;
  const run = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return [run.stdout, run.stderr];
}

describe('libbpf: without the kernel', () => {
  let directory: string;
  let fixture: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'libbpf-open-'));
    fixture = compile('fixture', directory);
  });
  after(() => rmSync(directory, { recursive: true }));

  it('libbpf: a missing file and bytes that are no object are refused with libbpf’s words', () => {
    const missing = thrown(() => BpfObject.open('/nonexistent/x.bpf.o'));
    expect([missing.code, missing.errno]).to.deep.equal(['ENOENT', 2]);
    expect(missing.message).to.include('/nonexistent/x.bpf.o');
    const junk = thrown(() => BpfObject.open(Buffer.alloc(64, 1), { name: 'junk' }));
    expect([junk.code, junk.errno]).to.deep.equal(['LIBBPF_FORMAT', 4001]);
    expect(junk.warnings).not.to.deep.equal([]);
    holds(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(thrown(() => BpfObject.open(bytes, { name: 'junk' })).code).to.match(/^(E|LIBBPF_)[A-Z]+$/);
      }),
      { runs: 30 },
    );
  });

  const openJunk = `try { BpfObject.open(Buffer.alloc(64, 1), { name: 'junk' }); }
    catch (error) { console.log(error.code, error.message.split(':')[0]); }`;

  it('libbpf: libbpf prints nothing by itself', () => {
    expect(runScript(openJunk)).to.deep.equal(['LIBBPF_FORMAT cannot open BPF object 64 bytes\n', '']);
  });

  it('libbpf: a missing or too old shared library is named, with what to install', () => {
    const library = join(directory, 'libbpf.so.1');
    const env = { LD_LIBRARY_PATH: directory };
    writeFileSync(library, '');
    expect(runScript(openJunk, env)).to.deep.equal(['LIBBPF_MISSING libbpf.so.1 cannot be loaded\n', '']);
    execFileSync('clang', ['-shared', '-x', 'c', '/dev/null', '-o', library]);
    expect(runScript(openJunk, env)).to.deep.equal(['LIBBPF_MISSING libbpf.so.1 is too old\n', '']);
  });

  it('libbpf: sections and variables are found by name and only edited inside their bounds', () => {
    using object = BpfObject.open(fixture);
    expect(object.mapNames).to.include.members(['flows', 'stats', 'events', 'outer', 'leases']);
    expect(object.programNames).to.include.members(['count', 'dump_flows']);
    expect(object.variable('start')).to.deep.equal({ section: '.data', offset: 0, size: 4 });
    expect(thrown(() => object.variable('nothing')).code).to.equal('LIBBPF_NOT_FOUND');
    const before = object.rodata();
    object.setRodata(Buffer.from([9]), before.length - 1);
    expect(object.rodata()).to.deep.equal(Buffer.concat([before.subarray(0, -1), Buffer.from([9])]));
    // A copy was handed out.
    expect(before.at(-1)).to.equal(0);
    expect(() => object.setRodata(Buffer.alloc(2), before.length - 1)).to.throw(RangeError);
    expect(() => object.setRodata(Buffer.alloc(before.length + 1))).to.throw(RangeError);
    expect(() => object.setRodata(Buffer.alloc(1), -1)).to.throw(RangeError);
    expect(() => object.setRodata(Buffer.alloc(1), 0.5)).to.throw(TypeError);
    expect(() => object.setVariable('limit', Buffer.alloc(4))).to.throw(RangeError, 'exactly 8');
    expect(thrown(() => object.setRodata(Buffer.alloc(1), 0, '.nothing')).code).to.equal('LIBBPF_NOT_FOUND');
  });

  it('libbpf: map sizes change before load; what needs a descriptor says that it is too early', () => {
    using object = BpfObject.open(fixture);
    const flows = object.map('flows').setMaxEntries(77).setPinPath('/sys/fs/bpf/nowhere/flows');
    expect([flows.maxEntries, flows.keySize, flows.valueSize, flows.type]).to.deep.equal([77, 8, 16, 1]);
    expect(object.map('flows')).to.equal(flows);
    expect(thrown(() => flows.lookup(Buffer.alloc(8))).code).to.equal('LIBBPF_STATE');
    expect(thrown(() => object.program('count').fd).code).to.equal('LIBBPF_STATE');
    const missing = thrown(() => object.map('flow'));
    expect(missing.code).to.equal('LIBBPF_NOT_FOUND');
    expect(missing.message).to.include('flows');
    expect(() => flows.setMaxEntries(1.5)).to.throw(TypeError);
    expect(() => flows.setMaxEntries(-1)).to.throw(RangeError);
    expect(() => flows.setMaxEntries(2 ** 32)).to.throw(RangeError);
    expect(() => flows.setPinPath('a\0b')).to.throw(RangeError);
    expect(() => flows.setInnerMap(-1)).to.throw(RangeError);
    expect(() => object.program('count').setAutoload(1 as unknown as boolean)).to.throw(TypeError);
  });

  it('libbpf: arguments of the wrong kind never reach C', () => {
    using object = BpfObject.open(fixture);
    const program = object.program('count');
    expect(() => BpfObject.open(5 as unknown as string)).to.throw(TypeError);
    expect(() => BpfObject.open('')).to.throw(RangeError);
    expect(() => BpfMap.create({ type: 'hash', keySize: 4.5, valueSize: 4, maxEntries: 1 })).to.throw(TypeError);
    expect(() => BpfMap.create({ type: 'nothing' as 'hash', keySize: 4, valueSize: 4, maxEntries: 1 })).to.throw(
      TypeError,
    );
    expect(() =>
      BpfMap.create({ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1, name: 'sixteen_letters_' }),
    ).to.throw(RangeError, '15');
    expect(() => BpfMap.fromId(-1)).to.throw(RangeError);
    expect(() => TcxLink.attach(program, 0, 'ingress')).to.throw(RangeError);
    expect(() => TcxLink.attach(program, 1, 'sideways' as 'ingress')).to.throw(TypeError);
    expect(() => ClsactFilter.attach(program, 1, 'ingress', { priority: 0, handle: 1 })).to.throw(RangeError);
    expect(() => program.testRun('packet' as unknown as Uint8Array)).to.throw(TypeError);
    expect(() => checkString('x', 'a\0')).to.throw(RangeError);
    holds(
      fc.property(fc.oneof(fc.double(), fc.anything()), (value) => {
        const fits = typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 9;
        if (fits) expect(checkInt('x', value, 1, 9)).to.equal(value);
        else expect(() => checkInt('x', value as number, 1, 9)).to.throw(/^x is /);
      }),
    );
  });

  it('libbpf: numbers are written where the struct has them, with its size in front', () => {
    const opts = new StructBuffer(tcOpts).set('prog_fd', -1).set('priority', 0xfffffffe);
    expect(opts.bytes.readBigUInt64LE(0)).to.equal(BigInt(tcOpts.type.size));
    expect(opts.bytes.readInt32LE(8)).to.equal(-1);
    expect(opts.u32('priority')).to.equal(0xfffffffe);
    expect(() => opts.set('nothing', 1)).to.throw('nothing');
  });

  it('libbpf: errors and features read well', () => {
    expect([errnoName(17), errnoName(524), errnoName(9999)]).to.deep.equal(['EEXIST', 'ENOTSUPP', 'E9999']);
    expect(kernelVersion('6.1.0-30-amd64')).to.deep.equal([6, 1]);
    expect([kernelAtLeast(6, 6, '6.1.0'), kernelAtLeast(6, 6, '6.10.1'), kernelAtLeast(6, 6, '7.0')]).to.deep.equal([
      false,
      true,
      true,
    ]);
    expect(() => kernelVersion('unknown')).to.throw(RangeError);
    expect(libbpfVersion()).to.match(/^v1\.\d+/);
    expect(ifNameToIndex('lo')).to.be.above(0);
    expect(new UnsupportedFeatureError('TCX links', '6.6').message).to.include('6.6');
  });
});
