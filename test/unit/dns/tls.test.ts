// SPDX-License-Identifier: Apache-2.0
// An upstream over TLS (RFC 7858): its certificate must name what the configuration says, or nothing is believed.

import tls, { createServer, type Server } from 'node:tls';
import { expect } from 'chai';
import { FrameReader, frame } from '../../../src/dns/frames.ts';
import { makeCertificate } from './certificate.ts';
import { Harness } from './harness.ts';
import { encode, rr, T } from './scripted-server.ts';

describe('DNS over TLS upstream', () => {
  let server: Server;
  let port = 0;
  let authorities: string[] = [];

  before(async function () {
    // Node 24.5 and newer; without it a test cannot make itself trusted.
    if (typeof tls.setDefaultCACertificates !== 'function') this.skip();
    authorities = tls.getCACertificates('default');
    const { key, cert } = makeCertificate();
    tls.setDefaultCACertificates([cert]);
    server = createServer({ key, cert }, (socket) => {
      const reader = new FrameReader();
      socket.on('error', () => socket.destroy());
      socket.on('data', (chunk: Buffer) =>
        reader.push(chunk, (query) => {
          socket.write(frame(encode(query, { answers: [rr.a('tls.example', '192.0.2.1')] })));
        }),
      );
    });
    server.on('tlsClientError', () => {});
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
  });
  after(async () => {
    if (authorities.length === 0) return;
    tls.setDefaultCACertificates(authorities);
    await new Promise((done) => server.close(done));
  });

  const rcodeWith = async (serverName?: string) => {
    const endpoint = { family: 4 as const, host: '127.0.0.1', port };
    const h = await Harness.start({
      upstreams: [{ kind: 'tls', endpoint, ...(serverName === undefined ? {} : { serverName }) }],
    });
    try {
      const seen = await h.ask({ name: 'tls.example', type: T.A });
      return [seen.rcode, seen.answers.length];
    } finally {
      await h.stop();
    }
  };

  it('is believed under its name, and under its address when none is given', async () => {
    expect(await rcodeWith('dns.example')).to.deep.equal([0, 1]);
    expect(await rcodeWith()).to.deep.equal([0, 1]);
  });

  it('keeps its connection when the configuration is read again and names it again', async () => {
    let connections = 0;
    server.on('secureConnection', () => connections++);
    const endpoint = { family: 4 as const, host: '127.0.0.1', port };
    const h = await Harness.start({ upstreams: [{ kind: 'tls', endpoint, serverName: 'dns.example' }] });
    try {
      await h.ask({ name: 'tls.example', type: T.A });
      await h.reload({ translateAll: true });
      expect((await h.ask({ name: 'other.example', type: T.A })).rcode).to.equal(0);
      expect(connections).to.equal(1);
    } finally {
      await h.stop();
    }
  });

  it('is not believed under another name, nor when nobody vouches for it', async () => {
    expect(await rcodeWith('other.example')).to.deep.equal([2, 0]);
    tls.setDefaultCACertificates(authorities);
    expect(await rcodeWith('dns.example')).to.deep.equal([2, 0]);
  });
});
