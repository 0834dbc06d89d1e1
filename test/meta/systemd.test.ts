// SPDX-License-Identifier: Apache-2.0
// The systemd unit, as systemd itself reads it: no word of it is unknown, and little is left open.

import { mkdtempSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { run } from '../helpers/processes.ts';
import { ROOT, read } from './repository.ts';

/** systemd's measure of what a service may do, in tenths; 100 is everything. */
const EXPOSURE_TENTHS = 40;

describe('systemd unit', () => {
  let prefix: string;
  let unit: string;
  before(() => {
    prefix = mkdtempSync(join(tmpdir(), 'gate64-unit-'));
    mkdirSync(join(prefix, 'bin'));
    symlinkSync(join(ROOT, 'dist/gate64'), join(prefix, 'bin/gate64'));
    unit = join(prefix, 'gate64.service');
    writeFileSync(unit, read('manifests/systemd/gate64.service').replaceAll('@PREFIX@', prefix));
  });
  after(() => rmSync(prefix, { recursive: true, force: true }));

  it('is one that systemd accepts without a remark', async () => {
    const { stdout, stderr } = await run(['systemd-analyze', 'verify', '--man=no', unit]);
    // Other units of this machine are read along.
    expect((stdout + stderr).split('\n').filter((line) => line.includes('gate64'))).to.deep.equal([]);
  });

  it(`has an exposure of ${EXPOSURE_TENTHS / 10} at most`, async () => {
    await run(['systemd-analyze', 'security', '--offline=true', '--no-pager', `--threshold=${EXPOSURE_TENTHS}`, unit]);
  });

  it('may do what the data plane needs: its capabilities, its pins, the switches of its device', () => {
    const text = read('manifests/systemd/gate64.service');
    const capabilities = /^CapabilityBoundingSet=(.*)$/m.exec(text)?.[1]?.split(' ');
    expect(capabilities).to.include.members(['CAP_BPF', 'CAP_NET_ADMIN', 'CAP_NET_RAW', 'CAP_PERFMON']);
    expect(/^RestrictAddressFamilies=(.*)$/m.exec(text)?.[1]?.split(' ')).to.include('AF_PACKET');
    expect(/^ReadWritePaths=(.*)$/m.exec(text)?.[1]?.split(' ')).to.include('/sys/fs/bpf');
    expect(text).not.to.match(/^ProtectKernelTunables=yes/m);
  });
});
