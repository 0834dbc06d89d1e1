// SPDX-License-Identifier: Apache-2.0
// What translation leaves alone: the payload, whatever protocol it is of, and the pace of echo requests.

import { expect } from 'chai';
import { bare, eth, TCP, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, POD, POOL, SERVER, SERVER6, withPlane } from './plane.ts';

const PORT = 40001;

/** Payloads that an application-level gateway would look for, with addresses of both sides in them. */
const APPLICATIONS: readonly ['tcp' | 'udp', number, string, string][] = [
  ['tcp', 21, `EPRT |2|${POD}|${PORT}|\r\n`, '227 Entering Passive Mode (198,51,100,7,19,137)\r\n'],
  [
    'tcp',
    554,
    'SETUP rtsp://198.51.100.7/ RTSP/1.0\r\nTransport: RTP/AVP;client_port=40002-40003\r\n',
    'RTSP/1.0 200 OK\r\n',
  ],
  [
    'tcp',
    5060,
    `INVITE sip:a@198.51.100.7 SIP/2.0\r\nContact: <sip:b@[${POD}]:5060>\r\n`,
    `SIP/2.0 200 OK\r\nVia: ${POOL}\r\n`,
  ],
  [
    'udp',
    5060,
    `INVITE sip:a@198.51.100.7 SIP/2.0\r\nContact: <sip:b@[${POD}]:5060>\r\n`,
    `SIP/2.0 200 OK\r\nVia: ${POOL}\r\n`,
  ],
  ['udp', 69, '\0\x01file\0octet\0', '\0\x03\0\x01data'],
];

describe('payload', () => {
  for (const [protocol, port, out, back] of APPLICATIONS) {
    it(`U4787-10-a: T5382-6-a: ${protocol} port ${port}: there is no application-level gateway`, () => {
      withPlane({}, (plane) => {
        const send = (packet: Packet, sport: number, dport: number, payload: string, flags: number) =>
          (protocol === 'udp' ? packet.udp({ sport, dport }) : packet.tcp({ sport, dport, flags })).payload(payload);
        const outward = (packet: Packet, payload: string, flags: number) => send(packet, PORT, port, payload, flags);
        const inward = (packet: Packet, payload: string) => send(packet, port, PORT, payload, TCP.ack);
        const from6 = eth().ip6({ src: POD, dst: SERVER6 });
        const as4 = bare().ip4({ src: POOL, dst: SERVER, ttl: 63 });
        if (protocol === 'tcp') {
          expectSound(plane.gate(outward(from6, '', TCP.syn)));
          expectSound(plane.gate(send(eth().ip4({ src: SERVER, dst: POOL }), port, PORT, '', TCP.syn | TCP.ack)));
        }
        expectOut(plane.gate(outward(from6, out, TCP.ack)), outward(as4, out, TCP.ack), { anyId: true });
        expectOut(
          plane.gate(inward(eth().ip4({ src: SERVER, dst: POOL }), back)),
          inward(bare().ip6({ src: SERVER6, dst: POD, hopLimit: 63 }), back),
        );
        expect(plane.datapath.sessions(), 'no port is opened beside').to.have.length(1);
      });
    });
  }

  it('P7050-3.2-b: echo requests and replies are never limited, however many there are', () => {
    withPlane({}, (plane) => {
      for (let seq = 1; seq <= 5000; seq++) {
        expect(plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).echo6(PORT, seq)).action).to.equal('redirect');
        expect(plane.gate(eth().ip4({ src: SERVER, dst: POOL }).echo4(PORT, seq, true)).action).to.equal('redirect');
      }
      const [session] = plane.datapath.sessions();
      expect(session).to.include({ packetsOut: 5000, packetsIn: 5000 });
    });
  });
});
