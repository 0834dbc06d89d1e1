// SPDX-License-Identifier: Apache-2.0
// The look at the node without a start.

import { expect } from 'chai';
import { Gate64Error } from '../../../src/errors.ts';
import { examine } from '../../../src/host/examine.ts';
import type { Finding } from '../../../src/plan/findings.ts';
import { FakeHost } from '../../fakes/host.ts';
import { settings } from '../plan/support.ts';

const LACK: Finding = { name: 'capability-missing', severity: 'error', message: 'no rights' };

const NO_DATAPATH = {
  facts: () => ({ leased: [], shared: [], places: [] }),
  otherLayouts: (): string[] => [],
  hooks: () => [],
  packetsSeen: () => 0,
};

/** A node that cannot be looked at. */
class ShutHost extends FakeHost {
  override observe(): Promise<never> {
    return Promise.reject(new Gate64Error('G64_HOST_COMMAND', '"nft" failed'));
  }
}

describe('host/examine', () => {
  it('finds nothing on a healthy node, and changes nothing on one that is not', async () => {
    const host = new FakeHost();
    expect(await examine(host, settings({}), NO_DATAPATH)).to.deep.equal({ findings: [], unseen: undefined });
    host.lacks = [LACK];
    host.sysctls.set('ipv6/conf/all/forwarding', '0');
    const { findings, unseen } = await examine(host, settings({}), NO_DATAPATH);
    expect(findings.map(({ name }) => name)).to.deep.equal(['capability-missing', 'forwarding-off']);
    expect(unseen).to.equal(undefined);
    expect(host.made).to.deep.equal([]);
  });

  it('names what another version left, where it may be read', async () => {
    const host = new FakeHost();
    const site = { ...NO_DATAPATH, otherLayouts: () => ['/sys/fs/bpf/gate64/maps-1'] };
    const { findings } = await examine(host, settings({}), site);
    expect(findings.map(({ name, severity }) => `${severity}: ${name}`)).to.deep.equal(['warning: old-layout']);
    expect(findings[0]?.message).to.include('/sys/fs/bpf/gate64/maps-1');
    host.lacks = [LACK];
    expect((await examine(host, settings({}), site)).findings).to.deep.equal([LACK]);
  });

  it('says what is missing where that keeps the node from being looked at', async () => {
    const host = new ShutHost();
    host.lacks = [LACK];
    expect(await examine(host, settings({}), NO_DATAPATH)).to.deep.equal({ findings: [LACK], unseen: '"nft" failed' });
  });

  it('fails where nothing is missing and the look fails all the same', async () => {
    const error = await examine(new ShutHost(), settings({}), NO_DATAPATH).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(Gate64Error).and.include({ message: '"nft" failed' });
  });
});
