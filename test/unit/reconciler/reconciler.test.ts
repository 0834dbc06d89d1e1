// SPDX-License-Identifier: Apache-2.0
// One call for start, reload, repair and the way back: on a node and with a data plane in memory.

import { expect } from 'chai';
import { formatIp4Net, parseIp4, parseIp4Net, parseIp6 } from '../../../src/addr/ip.ts';
import { embedIp4, parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import type { Config, Nat64Config } from '../../../src/config/config.ts';
import { parseConfig } from '../../../src/config/parse.ts';
import { Gate64Error } from '../../../src/errors.ts';
import type { Desired } from '../../../src/plan/desired.ts';
import { Reconciler } from '../../../src/reconciler.ts';
import { FakeHost, fakeInterface, fakeRoute } from '../../fakes/host.ts';
import { FakeSite } from '../../fakes/site.ts';
import { TestClock, TestLog } from '../nat64/support.ts';

const PREFIXES = ['64:ff9b::/96'];

function settings(nat64: Partial<Nat64Config> = {}, prefixes = PREFIXES): Config {
  const config = parseConfig('', 'defaults');
  return { ...config, prefixes: prefixes.map(parsePrefix64), nat64: { ...config.nat64, ...nat64 } };
}
const pool = (net: string): Nat64Config['pool'] => [
  { addresses: [parseIp4Net(net)], firstPort: 1024, lastPort: 2047, portsGiven: true },
];

describe('reconciler', () => {
  let clock: TestClock;
  let log: TestLog;
  let host: FakeHost;
  let site: FakeSite;
  let converged: Desired[];
  let running: Reconciler | undefined;

  beforeEach(() => {
    clock = new TestClock();
    log = new TestLog();
    host = new FakeHost();
    site = new FakeSite(() => clock.now());
    converged = [];
    running = undefined;
  });
  afterEach(async () => running?.stop());

  async function start(config = settings()): Promise<Reconciler> {
    running = await Reconciler.start({ config, host, site, log, clock, onConverged: (done) => converged.push(done) });
    return running;
  }
  const datapath = () => {
    if (site.datapath === undefined) throw new Error('there is no data plane');
    return site.datapath;
  };
  /** Node and data plane as they are. */
  const state = () => {
    const { programs, destinations, sources, poolAddresses } = datapath();
    const blocks = datapath()
      .blocks()
      .map(({ v4, firstPort, state: is }) => `${v4}:${firstPort} ${is}`);
    return { node: host.state(), programs, destinations, sources, poolAddresses, blocks: blocks.toSorted() };
  };
  /** Lets time pass, and what waits for a turn of the event loop happen. */
  async function advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 500) {
      clock.advance(Math.min(500, left));
      await settled();
    }
  }
  async function settled(): Promise<void> {
    for (let i = 0; i < 50; i++) await Promise.resolve();
  }
  const messages = (level: string) => log.lines.filter((line) => line.level === level).map(({ message }) => message);
  async function refusal(promise: Promise<unknown>): Promise<Gate64Error> {
    return promise.then(
      () => expect.fail('nothing was refused'),
      (error: unknown) => (error instanceof Gate64Error ? error : Promise.reject(error as Error)),
    );
  }

  describe('a start', () => {
    it('makes node and data plane; looking again finds nothing to do', async () => {
      const reconciler = await start();
      expect(reconciler.ready()).to.deep.equal({ ready: true });
      expect(host.masquerade?.nets?.map(formatIp4Net)).to.deep.equal(['192.0.0.0/29']);
      expect(host.interfaces.map(({ name }) => name)).to.deep.equal(['up0', 'gate64', 'gate64x']);
      expect(datapath().programs.deviceIfindex).to.equal(host.interfaces[1]?.ifindex);
      expect(reconciler.info()).to.deep.include({ uplink: 'up0', adopted: false });
      const before = state();
      host.made = [];
      await reconciler.look();
      expect(host.made).to.deep.equal([]);
      expect(state()).to.deep.equal(before);
      expect(datapath().loads).to.equal(0);
      expect(messages('warn')).to.deep.equal([]);
    });

    it('that lacks something is refused before anything is looked at', async () => {
      host.lacks = [{ name: 'capability-missing', severity: 'error', message: 'no rights', remedy: 'get some' }];
      const error = await refusal(start());
      expect(error).to.include({ code: 'G64_NO_CAPABILITY', message: 'no rights', hint: 'get some' });
      expect([host.looks, host.made]).to.deep.equal([0, []]);
    });

    it('that cannot work is refused with all that is wrong, before anything is changed', async () => {
      host.routes = [fakeRoute('64:ff9b::/96', 'other0')];
      const error = await refusal(start());
      expect(error.code).to.equal('G64_ROUTE_CONFLICT');
      expect(error.message).to.match(/64:ff9b::\/96 dev other0.*and also: this node has no IPv4 default route/);
      expect(host.made).to.deep.equal([]);
    });

    it('that fails in the middle leaves nothing, on the node or of the data plane', async () => {
      const before = host.state();
      host.fails = (change) => change.kind === 'masquerade';
      expect((await refusal(start())).message).to.equal('nftables table ip gate64 failed');
      expect(host.state()).to.deep.equal(before);

      host.fails = () => false;
      site.refuses = () => true;
      expect((await refusal(start())).code).to.equal('G64_DATAPATH_LOAD');
      expect(host.state()).to.deep.equal(before);
      expect(site.isThere()).to.equal(false);
    });

    it('that fails leaves a data plane of before, and its node, going on', async () => {
      await (await start()).stop();
      const before = state();
      host.fails = (change) => change.kind === 'route';
      await refusal(start(settings({}, ['2001:db8:64::/96'])));
      expect(site.isThere()).to.equal(true);
      expect(state().programs).to.deep.equal(before.programs);
      expect(host.interfaces.map(({ name }) => name)).to.include('gate64');
    });

    it('says warnings once, and again when they come back', async () => {
      host.sysctls.set('ipv6/conf/all/forwarding', '0');
      const reconciler = await start();
      await reconciler.apply(settings());
      const said = () => log.lines.filter(({ fields }) => fields['finding'] === 'forwarding-off').length;
      expect(said()).to.equal(1);
      host.sysctls.set('ipv6/conf/all/forwarding', '1');
      await reconciler.apply(settings());
      host.sysctls.set('ipv6/conf/all/forwarding', '0');
      await reconciler.apply(settings());
      expect(said()).to.equal(2);
    });
  });

  describe('a reload', () => {
    it('of one denied network looks once, changes nothing on the node and loads no program', async () => {
      const reconciler = await start();
      [host.looks, host.made] = [0, []];
      await reconciler.apply(settings({ deny: [parseIp4Net('8.8.8.0/24')] }));
      expect([host.looks, host.made, datapath().loads]).to.deep.equal([1, [], 0]);
      expect(datapath().destinations.map(({ net }) => formatIp4Net(net))).to.include('8.8.8.0/24');
      expect(converged.at(-1)?.datapath?.destinations).to.deep.equal(datapath().destinations);
    });

    it('of everything: what was is gone, what is to be is there', async () => {
      const reconciler = await start();
      await reconciler.apply(
        settings({ pool: pool('192.0.2.64/28'), filtering: 'endpointIndependent' }, ['2001:db8:64::/96']),
      );
      expect(host.routes.filter(({ protocol }) => protocol === '64').map(({ dst }) => dst)).to.have.members([
        '2001:db8:64::/96',
        '2001:db8:64::/96',
        '192.0.2.64/28',
      ]);
      expect(datapath().programs).to.include({ endpointIndependentFiltering: 1, prefixCount: 1 });
      await reconciler.apply(settings());
      expect(host.masquerade?.nets?.map(formatIp4Net)).to.deep.equal(['192.0.0.0/29']);
    });

    const other = () =>
      settings(
        {
          pool: pool('192.0.2.64/28'),
          deny: [parseIp4Net('8.8.8.0/24')],
          allowSources: [{ v6: parseIp6('2001:db8:1::'), length: 48 }],
          filtering: 'endpointIndependent',
        },
        ['2001:db8:64::/96', '64:ff9b::/96'],
      );

    for (const [what, breakIt] of [
      ['a program that cannot be loaded', () => (site.refuses = (programs) => programs.prefixCount === 2)],
      [
        'a route that cannot be made',
        () => (host.fails = (change) => change.kind === 'route' && change.verb === 'add'),
      ],
      ['an nftables table that cannot be made', () => (host.fails = (change) => change.kind === 'masquerade')],
    ] as const) {
      it(`refused by ${what} leaves the one before in force, whole`, async () => {
        const reconciler = await start();
        const before = state();
        breakIt();
        const error = await refusal(reconciler.apply(other()));
        expect(error.code).to.be.oneOf(['G64_DATAPATH_LOAD', 'G64_HOST_COMMAND']);
        host.fails = () => false;
        await advance(40_000);
        expect(state()).to.deep.equal(before);
        expect(reconciler.ready()).to.deep.equal({ ready: true });
        site.refuses = () => false;
        await reconciler.apply(other());
        expect(datapath().programs.prefixCount).to.equal(2);
      });
    }

    it('whose way back fails as well is not ready, and goes back as soon as it can', async () => {
      const reconciler = await start();
      const before = state();
      host.fails = (change) => change.kind === 'masquerade';
      await refusal(reconciler.apply(other()));
      const ready = () => reconciler.ready().ready;
      // What is to go back fails as what was to come did: the table is still the one of before, the routes are not.
      host.masquerade = undefined;
      await reconciler.look();
      expect(ready()).to.equal(false);
      expect(reconciler.ready().reason).to.match(/nftables table/);
      host.fails = () => false;
      await advance(31_000);
      expect(ready()).to.equal(true);
      expect(state()).to.deep.equal(before);
    });

    it('that the maps have no room for is refused before anything is changed', async () => {
      const reconciler = await start();
      const before = state();
      host.made = [];
      const wide = { addresses: [parseIp4Net('192.0.2.0/28')], firstPort: 1, lastPort: 65535, portsGiven: true };
      const error = await refusal(reconciler.apply(settings({ pool: [wide], blockSize: 16 })));
      expect(error.message).to.match(/makes \d+ blocks of 16 ports; the data plane holds 16384 blocks/);
      expect(host.made).to.deep.equal([]);
      expect(state()).to.deep.equal(before);
    });
  });

  describe('a node that changes', () => {
    it('is put right, and said so', async () => {
      const reconciler = await start();
      const before = host.state();
      host.masquerade = undefined;
      host.routes = host.routes.filter(({ dst }) => dst !== '192.0.0.0/29');
      host.tell();
      await settled();
      expect(host.state()).to.deep.equal(before);
      expect(log.with('put back what was missing on the node')[0]?.['repaired']).to.deep.equal([
        'nftables table ip gate64',
        'route 192.0.0.0/29',
      ]);
      expect(reconciler.ready().ready).to.equal(true);
    });

    it('with a device made anew has the programs there', async () => {
      const reconciler = await start();
      const old = datapath().programs.deviceIfindex;
      host.removeDevice('gate64');
      datapath().isAttached = false;
      await reconciler.look();
      expect(datapath().programs.deviceIfindex).not.to.equal(old);
      expect(datapath().isAttached).to.equal(true);
    });

    it('that cannot be put right is tried again after 1, 2, 4 … seconds until it is, and readiness says so', async () => {
      const reconciler = await start();
      host.removeDevice('gate64');
      host.fails = (change) => change.kind === 'addDevice';
      host.tell();
      await settled();
      expect(reconciler.ready()).to.deep.equal({ ready: false, reason: 'device gate64 failed' });
      const looksIn = async (ms: number) => {
        const before = host.looks;
        await advance(ms);
        return host.looks - before;
      };
      expect([await looksIn(1000), await looksIn(2000), await looksIn(4000)]).to.deep.equal([1, 1, 1]);
      expect(
        messages('error').filter((text) => text === 'the node is not as gate64 needs it'),
        'said once',
      ).to.have.length(1);
      host.fails = () => false;
      await advance(8000);
      expect(reconciler.ready()).to.deep.equal({ ready: true });
      expect(messages('info')).to.include('the node is as gate64 needs it again');
      expect(datapath().programs.deviceIfindex).to.equal(
        host.interfaces.find(({ name }) => name === 'gate64')?.ifindex,
      );
    });

    it('whose change the data plane does not take is not forgotten: it is tried until it holds', async () => {
      const reconciler = await start();
      const is = () => datapath().destinations.some(({ net }) => net.v4 === parseIp4('203.0.113.77'));
      const [uplink] = host.interfaces;
      host.interfaces[0] = fakeInterface('up0', 2, {
        ...uplink,
        addresses4: [...(uplink?.addresses4 ?? []), { v4: parseIp4('203.0.113.77'), length: 24, secondary: true }],
      });
      const set = datapath().setDestinations.bind(datapath());
      datapath().setDestinations = () => {
        throw new Gate64Error('G64_DATAPATH_MAP', 'E2BIG');
      };
      await reconciler.look();
      expect([is(), reconciler.ready().reason]).to.deep.equal([false, 'E2BIG']);
      expect(messages('info')).not.to.include('the node is as gate64 needs it again');
      datapath().setDestinations = set;
      await advance(1000);
      expect([is(), reconciler.ready().ready]).to.deep.equal([true, true]);
    });

    it('by somebody who undoes what gate64 makes is named, not fought without end', async () => {
      const reconciler = await start();
      host.masquerade = undefined;
      const make = host.make.bind(host);
      let rounds = 0;
      host.make = async (changes) => {
        rounds++;
        await make(changes);
        host.masquerade = undefined;
      };
      await reconciler.look();
      expect(rounds).to.be.below(5);
      expect(reconciler.ready().reason).to.match(/does not stay as gate64 sets it.*nftables table ip gate64/);
    });

    it('is looked at every 30 s, whatever is done to the wall clock', async () => {
      const reconciler = await start();
      for (const stepMs of [0, -3_600_000, 7_200_000]) {
        clock.stepMs = stepMs;
        host.masquerade = undefined;
        datapath().isAttached = false;
        await advance(30_500);
        expect(host.masquerade, `after a step of ${stepMs} ms`).not.to.equal(undefined);
        expect(datapath().isAttached).to.equal(true);
      }
      expect(reconciler.ready().ready).to.equal(true);
    });
  });

  it('an uplink with another address: nothing of the old one stays on the node, flows get the new one', async () => {
    const uplink = [{ addresses: 'uplink', firstPort: 61_001, lastPort: 61_256, portsGiven: true } as const];
    const reconciler = await start(settings({ egress: 'direct', pool: uplink }));
    const open = () =>
      datapath().openFlow({
        protocol: 'udp',
        source: { v6: parseIp6('2001:db8:1::1'), port: 1 },
        destination6: embedIp4(parsePrefix64('64:ff9b::/96'), parseIp4('8.8.8.8')),
        port: 53,
      });
    expect(open()).to.have.nested.property('pool.v4', parseIp4('203.0.113.2'));
    const addresses4 = [{ v4: parseIp4('203.0.113.7'), length: 24, secondary: false }];
    host.interfaces = host.interfaces.map((one) => (one.name === 'up0' ? { ...one, addresses4 } : one));
    await reconciler.look();
    expect(host.routes.filter(({ family, protocol }) => family === 4 && protocol === '64')).to.deep.equal([]);
    expect(host.proxies).to.deep.equal([]);
    expect(open()).to.have.nested.property('pool.v4', parseIp4('203.0.113.7'));
    expect(messages('warn')).to.deep.equal([
      'the node has lost an address of the pool; its sessions end, new ones get another',
    ]);
  });

  it('leads packets of an address that left the pool here for as long as pods hold ports of it', async () => {
    const reconciler = await start(settings({ pool: pool('192.0.2.9') }));
    const session = datapath().openFlow({
      protocol: 'udp',
      source: { v6: parseIp6('2001:db8:1::1'), port: 1 },
      destination6: embedIp4(parsePrefix64('64:ff9b::/96'), parseIp4('8.8.8.8')),
      port: 53,
    });
    if (session === undefined || typeof session === 'string') throw new Error(session ?? 'detached');
    await advance(1500);
    await reconciler.apply(settings({ pool: pool('192.0.2.64/30') }));
    const routed = () =>
      host.routes.filter(({ family, protocol }) => family === 4 && protocol === '64').map(({ dst }) => dst);
    expect(routed()).to.have.members(['192.0.2.9/32', '192.0.2.64/30']);
    datapath().closeFlow(session);
    // The block is idle, then rests.
    await advance(220_000);
    expect(routed()).to.deep.equal(['192.0.2.64/30']);
    expect(messages('warn'), 'what ends by itself is no repair').to.deep.equal([]);
  });
});
