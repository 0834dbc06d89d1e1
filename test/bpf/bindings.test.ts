// SPDX-License-Identifier: Apache-2.0
// Bindings that come and go under their sessions: static ones taken back and put again, ports that turn out to be taken,
// filtering that changes (RFC 6146 §3.1, §3.5.1).

import { expect } from 'chai';
import { formatIp4, parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { eth } from '../helpers/packet.ts';
import { programsOf } from '../helpers/programs.ts';
import { expectSound, Plane, POD, POOL, SERVER, SERVER6, withPlane } from './plane.ts';

const T = 40007;
const PORT = 80;
const STATIC = {
  protocol: 'udp' as const,
  source: { v6: parseIp6(POD), port: PORT },
  pool: { v4: parseIp4(POOL), port: T },
};
const in4 = (sport: number, dport = T) => eth().ip4({ src: SERVER, dst: POOL }).udp({ sport, dport });
const out6 = (sport: number, dport: number) => eth().ip6({ src: POD, dst: SERVER6 }).udp({ sport, dport });
const bindings = (plane: Plane) =>
  plane.datapath.bindings().map((row) => [formatIp4(row.pool.v4), row.pool.port, row.isStatic, row.sessions]);

describe('bindings that change under their sessions', () => {
  it('N6146-3.1-e: a static binding that was taken back and put again outlives the sessions of its first time', () => {
    withPlane({ staticPorts: [T] }, (plane) => {
      plane.datapath.putStaticBinding(STATIC);
      expectSound(plane.gate(in4(9)));
      plane.datapath.deleteStaticBinding(STATIC);
      plane.datapath.putStaticBinding(STATIC);
      plane.age(100);
      expect(plane.datapath.sweep(60_000).ended).to.have.length(1);
      expect(bindings(plane)).to.deep.equal([[POOL, T, true, 0]]);
      expectSound(plane.gate(in4(10)));
      expectSound(plane.gate(out6(PORT, 11)));
      expect(bindings(plane)).to.deep.equal([[POOL, T, true, 2]]);
    });
  });

  it('N6146-3.1-b: the end of a session of a static binding does not end the dynamic one that took its place', () => {
    withPlane(
      { staticPorts: [T] },
      (plane) => {
        plane.datapath.putStaticBinding(STATIC);
        expectSound(plane.gate(in4(9)));
        plane.age(100);
        plane.datapath.deleteStaticBinding(STATIC);
        expectSound(plane.gate(out6(PORT, 10)));
        const [[, port] = []] = bindings(plane);
        expect(plane.datapath.sweep(60_000).ended).to.have.length(1);
        expect(bindings(plane)).to.deep.equal([[POOL, port, false, 1]]);
        expect(plane.datapath.blocks()[0]?.used.udp, 'its port and the static one').to.equal(2);
        expectSound(
          plane.gate(
            eth()
              .ip4({ src: SERVER, dst: POOL })
              .udp({ sport: 10, dport: port as number }),
          ),
        );
      },
      { staticsChanged: true },
    );
  });

  it('N6146-3.5.1.1-e: a port of a leased block that a static binding has since got is passed over', () => {
    withPlane(
      {},
      (plane) => {
        expectSound(plane.gate(out6(40001, 53)));
        const other = { ...STATIC, source: { v6: parseIp6('2001:db8:1::99'), port: PORT } };
        plane.datapath.putStaticBinding(other);
        try {
          for (const dport of [53, 54]) expectSound(plane.gate(out6(T, dport)));
          const mine = plane.datapath.bindings().find((row) => row.source.port === T);
          expect(mine).to.include({ isStatic: false, sessions: 2 });
          expect(mine?.pool.port).not.to.equal(T);
        } finally {
          plane.datapath.deleteStaticBinding(other);
        }
      },
      { staticsChanged: true },
    );
  });

  it('N6146-3.5.1-e: who may write to a port is forgotten with the session, whatever the filtering is by then', () => {
    for (const [before, after] of [
      ['addressDependent', 'endpointIndependent'],
      ['endpointIndependent', 'addressDependent'],
    ] as const) {
      using plane = new Plane({ config: { filtering: before } });
      for (const dport of [53, 54]) expectSound(plane.gate(out6(40001, dport)));
      expect([...plane.maps.n64_peer.keys()]).to.have.length(1);
      plane.datapath.setPrograms(programsOf({ ...plane.config, filtering: after }));
      plane.age(100);
      expect(plane.datapath.sweep(60_000).ended).to.have.length(2);
      expect([...plane.maps.n64_peer.keys()], `${before} to ${after}`).to.deep.equal([]);
    }
  });
});
