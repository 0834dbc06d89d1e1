// SPDX-License-Identifier: Apache-2.0
// Which programs of others meet packets first, from what `tc` lists and from what the kernel tells of TCX.

import { expect } from 'chai';
import type { ForeignProgram, HookRow } from '../../../src/datapath/datapath.ts';
import type { Exec } from '../../../src/host/exec.ts';
import { filtersBefore, programsBefore, type FilterRow } from '../../../src/host/programs-before.ts';
import type { Interface } from '../../../src/model/facts.ts';

const bpf = (handle: string, id: number): FilterRow => ({
  protocol: 'all',
  pref: 1,
  kind: 'bpf',
  options: { handle, bpf_name: 'other.o:[tc]', prog: { id, name: 'cls' } },
});
const LIST: FilterRow = { protocol: 'all', pref: 1, kind: 'bpf' };
const OURS = bpf('0x6e36', 7);
const PLACE = { priority: 1, handle: 0x6e36 };
const AT = { device: 'gate64', side: 'egress' } as const;

/** Runs no command but `ip`, whose counter goes on by `step` at each look. */
function counting(step: number): Exec {
  let packets = 5;
  return (command) => {
    expect(command).to.equal('ip');
    const stdout = JSON.stringify([{ stats64: { tx: { packets } } }]);
    packets += step;
    return Promise.resolve({ exit: 0, stdout, stderr: '' });
  };
}

function site(before: readonly ForeignProgram[], seenStep = 0) {
  const hook: HookRow = { name: 'gate', ifindex: 4, side: 'egress', place: { kind: 'tcx', before } };
  let seen = 0;
  return { hooks: () => [hook], packetsSeen: () => (seen += seenStep) };
}
const INTERFACES = [{ name: 'gate64', ifindex: 4 } as Interface];
const LINKED: ForeignProgram = { programId: 12, name: 'cil', linkId: 3 };

describe('host/programs-before', () => {
  it('filters that tc lists before ours stand before it, each with the line that deletes it alone', () => {
    expect(filtersBefore([LIST, bpf('0x3', 9), OURS, bpf('0x2', 8)], PLACE, AT)).to.deep.equal([
      { what: '"cls" (id 9)', command: 'tc filter del dev gate64 egress protocol all pref 1 handle 0x3 bpf' },
    ]);
  });

  it('there are none where ours is first, or does not hang', () => {
    expect(filtersBefore([LIST, OURS, bpf('0x2', 8)], PLACE, AT)).to.deep.equal([]);
    expect(filtersBefore([LIST, bpf('0x2', 8)], PLACE, AT)).to.deep.equal([]);
  });

  it('nothing is run where nobody stands before', async () => {
    const never: Exec = () => Promise.reject(new Error('run'));
    expect(await programsBefore(never, site([]), INTERFACES)).to.deep.equal([]);
  });

  it('one is a warning, and an error where packets leave by the device and none gets to gate64', async () => {
    const severity = async (step: number, seenStep: number) =>
      (await programsBefore(counting(step), site([LINKED], seenStep), INTERFACES)).map((one) => one.severity);
    const found = await Promise.all([severity(0, 0), severity(1, 1), severity(1, 0)]);
    expect(found).to.deep.equal([['warning'], ['warning'], ['error']]);
  });

  it('names it, and has a command only where all can be detached by one, which --fix does not run', async () => {
    const unlinked = { programId: 13, name: undefined, linkId: undefined };
    const [one] = await programsBefore(counting(0), site([LINKED]), INTERFACES);
    expect(one).to.include({ name: 'program-before-ours', command: 'bpftool link detach id 3' });
    expect(one?.message).to.include('egress of gate64 stands "cil" (id 12)');
    expect(one).to.not.have.property('isSafe');
    const [both] = await programsBefore(counting(0), site([LINKED, unlinked]), INTERFACES);
    expect(both?.message).to.include('"cil" (id 12), a program (id 13)');
    expect(both).to.not.have.property('command');
  });
});
