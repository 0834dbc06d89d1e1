// SPDX-License-Identifier: Apache-2.0
// leavingSources(): which address masqueraded packets leave with, where routes name one.

import { expect } from 'chai';
import { formatIp4, formatIp4Net } from '../../../src/addr/ip.ts';
import type { Interface, Route } from '../../../src/model/facts.ts';
import { leavingSources } from '../../../src/plan/sources.ts';
import { plan } from '../../../src/plan/plan.ts';
import { fakeInterface, fakeRoute } from '../../fakes/host.ts';
import { address4, facts, settings, SHARED } from './support.ts';

const SECOND = { ...address4('203.0.113.3/24'), secondary: true };
const UP: Interface = fakeInterface('up0', 2, { addresses4: [address4('203.0.113.2/24'), SECOND] });
const CONNECTED = fakeRoute('203.0.113.0/24', 'up0', { source: '203.0.113.2', protocol: 'kernel' });
const byDefault = (source?: string, more: Partial<Route> = {}) =>
  fakeRoute('0.0.0.0/0', 'up0', { gateways: ['203.0.113.1'], source, ...more });
const texts = (routes: readonly Route[], interfaces: readonly Interface[] = [UP]) =>
  leavingSources(interfaces, routes, ['gate64']).map(
    ({ device, dst, source }) => `${formatIp4Net(dst)} ${device} ${source === undefined ? '' : formatIp4(source)}`,
  );

describe('plan/sources', () => {
  it('there are none where masquerade takes what the routes name', () => {
    expect(texts([byDefault(), CONNECTED])).to.deep.equal([]);
    expect(texts([byDefault('203.0.113.2'), CONNECTED])).to.deep.equal([]);
    const two = fakeInterface('up0', 2, { addresses4: [address4('198.51.100.2/24'), address4('203.0.113.2/24')] });
    expect(texts([byDefault('203.0.113.2')], [two]), 'the one whose network has the next hop').to.deep.equal([]);
    expect(texts([byDefault('198.51.100.2')], [two])).to.deep.equal(['0.0.0.0/0 up0 198.51.100.2']);
  });

  it('the longest route says it first, and what says no more than the next shorter one is left out', () => {
    const routes = [
      byDefault('203.0.113.3'),
      CONNECTED,
      fakeRoute('203.0.113.128/25', 'up0', { source: '203.0.113.3' }),
      fakeRoute('198.51.100.0/24', 'up0', { source: '203.0.113.3', gateways: ['203.0.113.9'] }),
      fakeRoute('198.18.0.0/15', 'up0', { gateways: ['203.0.113.9'] }),
    ];
    expect(texts(routes)).to.deep.equal([
      '203.0.113.128/25 up0 203.0.113.3',
      '203.0.113.0/24 up0 ',
      '198.18.0.0/15 up0 ',
      '0.0.0.0/0 up0 203.0.113.3',
    ]);
  });

  it('one rule does where all routes of an interface name the same, be they thousands', () => {
    const own = fakeInterface('lo', 1, { linkType: 'loopback', addresses4: [address4('192.0.2.1/32')] });
    const routes = Array.from({ length: 5000 }, (_, i) =>
      fakeRoute(`10.${i >> 8}.${i & 255}.0/24`, 'up0', { source: '192.0.2.1', gateways: ['203.0.113.1'] }),
    );
    expect(texts(routes, [own, UP])).to.deep.equal(['0.0.0.0/0 up0 192.0.2.1']);
    const mixed = routes.map((route, i) => (i % 2 === 0 ? route : { ...route, source: undefined }));
    expect(texts(mixed, [own, UP]).length).to.be.at.most(128);
  });

  it('of equal routes the one of the lowest metric decides; other tables and kinds do not', () => {
    const other = byDefault('203.0.113.2', { metric: 100 });
    const best = byDefault('203.0.113.3', { metric: 50 });
    expect(texts([other, best])).to.deep.equal(['0.0.0.0/0 up0 203.0.113.3']);
    expect(texts([byDefault('203.0.113.3', { table: '100' }), other])).to.deep.equal([]);
    expect(
      texts([fakeRoute('203.0.113.3/32', 'up0', { type: 'local', table: 'local', source: '203.0.113.3' })]),
    ).to.deep.equal([]);
  });

  it('an address that the node has not is nobody’s to send from; one of another interface is', () => {
    expect(texts([byDefault('203.0.113.99')])).to.deep.equal([]);
    const bare = fakeInterface('ppp0', 5, { linkType: 'ppp' });
    expect(texts([fakeRoute('0.0.0.0/0', 'ppp0', { source: '203.0.113.2' })], [UP, bare])).to.deep.equal([
      '0.0.0.0/0 ppp0 203.0.113.2',
    ]);
  });

  it('names that nftables cannot write, and gate64’s own device, have none', () => {
    const odd = { ...UP, name: 'u"p' };
    expect(texts([{ ...byDefault('203.0.113.3'), devices: ['u"p'] }], [odd])).to.deep.equal([]);
    const own = { ...UP, name: 'gate64' };
    expect(texts([{ ...byDefault('203.0.113.3'), devices: ['gate64'] }], [own])).to.deep.equal([]);
  });

  it('are of the plan with masquerade alone, and go with the address', () => {
    const nothing = { leased: [], shared: [], places: [] };
    const node = facts({ interfaces: [UP], routes: [byDefault('203.0.113.3'), CONNECTED] });
    expect(plan(settings(), node, nothing).node.leaving).to.have.length(2);
    const lost = facts({
      interfaces: [{ ...UP, addresses4: UP.addresses4.slice(0, 1) }],
      routes: [byDefault(), CONNECTED],
    });
    expect(plan(settings(), lost, nothing).node.leaving).to.deep.equal([]);
    const { leaving, lost: before } = plan(settings(), node, nothing).node;
    expect(before).to.deep.equal([]);
    const table = { nets: [], device: 'gate64', guardsNode: true, closed: [], times: undefined, hasTimes: true };
    const masquerade = { ...table, leaving, lost: [7], opened: [] };
    const after = plan(settings(), { ...lost, masquerade }, nothing).node.lost;
    expect(after.map(formatIp4), 'kept, and said of what was used').to.deep.equal(['0.0.0.7', '203.0.113.3']);
    expect(plan(settings(), { ...node, masquerade }, nothing).node.lost, 'until it is back').to.deep.equal([7]);
    expect(plan(settings({ egress: 'direct', pool: SHARED }), node, nothing).node.leaving).to.deep.equal([]);
  });
});
