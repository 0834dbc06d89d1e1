// SPDX-License-Identifier: Apache-2.0
// Who vouches for a TLS upstream: authorities of dns.tls.ca, those of the system's store, for either family. What is wrong
// is said.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { FrameReader, frame } from '../../../src/dns/frames.ts';
import { SILENT_OBSERVER } from '../../../src/dns/observer.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { makeCertificate } from './certificate.ts';
import { Harness } from './harness.ts';
import { encode, rr, ScriptedServer, T } from './scripted-server.ts';

const CHILD = join(import.meta.dirname, 'tls-system.child.ts');
const HOSTS = { 4: '127.0.0.1', 6: '::1' } as const;

describe('who vouches for a TLS upstream', () => {
  let directory: string;
  let ca: string;
  let other: string;
  const servers: Server[] = [];
  const ports: Record<number, number> = {};

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'gate64-ca-'));
    const { key, cert } = makeCertificate();
    [ca, other] = [join(directory, 'ca.pem'), join(directory, 'other.pem')];
    writeFileSync(ca, `for tests\n${cert}`);
    writeFileSync(other, makeCertificate().cert);
    for (const family of [4, 6] as const) {
      const server = createServer({ key, cert }, (socket) => {
        const reader = new FrameReader();
        socket.on('error', () => socket.destroy());
        socket.on('data', (chunk: Buffer) =>
          reader.push(chunk, (query) =>
            socket.write(frame(encode(query, { answers: [rr.a('tls.example', '192.0.2.1')] }))),
          ),
        );
      });
      server.on('tlsClientError', () => {});
      server.listen(0, HOSTS[family]);
      await once(server, 'listening');
      servers.push(server);
      ports[family] = (server.address() as AddressInfo).port;
    }
  });
  after(() => {
    for (const server of servers) server.close();
    rmSync(directory, { recursive: true });
  });

  const upstream = (family: 4 | 6) => ({
    kind: 'tls' as const,
    endpoint: { family, host: HOSTS[family], port: ports[family] as number },
  });

  for (const family of [4, 6] as const) {
    it(`IPv${family}: an authority of dns.tls.ca does, for the address alone and for a name`, async () => {
      for (const name of [{}, { serverName: 'dns.example' }]) {
        const h = await Harness.start({ upstreams: [{ ...upstream(family), ...name }], tls: { ca } });
        try {
          expect((await h.ask({ name: 'tls.example', type: T.A })).answers).to.have.length(1);
          expect(h.dns.stats.failing).to.deep.equal([]);
        } finally {
          await h.stop();
        }
      }
    });
  }

  it("an authority of the system's store does", async () => {
    const { NODE_EXTRA_CA_CERTS: _, ...environment } = process.env;
    const rcodeWith = async (file: string) => {
      const env = { ...environment, SSL_CERT_FILE: file };
      return (await promisify(execFile)(process.execPath, [CHILD, String(ports[4])], { env })).stdout.trim();
    };
    expect([await rcodeWith(ca), await rcodeWith(other)]).to.deep.equal(['0', '2']);
  }).timeout(10_000);

  it('nobody does: said once in the log, in the status and by the metric, and taken back when somebody does', async () => {
    const said: unknown[] = [];
    const labels = new Set<string>();
    const note = (fields: object, message: string) => void said.push([message, fields]);
    const h = await Harness.start({
      upstreams: [upstream(4)],
      tls: { ca: other },
      log: { warn: note, info: note },
      observer: { ...SILENT_OBSERVER, upstream: (_, rcode) => labels.add(rcode) },
    });
    const label = `127.0.0.1:${ports[4]}`;
    try {
      for (const name of ['one.example', 'two.example']) expect((await h.ask({ name, type: T.A })).rcode).to.equal(2);
      const reason = h.dns.stats.failing[0]?.reason;
      expect(reason).to.match(/self-signed certificate/);
      expect(h.dns.stats.failing).to.deep.equal([{ upstream: label, reason }]);
      expect(said).to.deep.equal([['the upstream cannot be asked', { upstream: label, reason }]]);
      expect([...labels]).to.deep.equal(['tls']);
      await h.reload({ tls: { ca } });
      expect((await h.ask({ name: 'tls.example', type: T.A })).rcode).to.equal(0);
      expect(h.dns.stats.failing).to.deep.equal([]);
    } finally {
      await h.stop();
    }
  });

  it('a file that is not there, or holds no certificate, is refused by its name', async () => {
    const broken = join(directory, 'broken.pem');
    writeFileSync(broken, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    const server = await ScriptedServer.start();
    for (const file of [join(directory, 'none.pem'), CHILD, broken]) {
      const refused = await Harness.start({ tls: { ca: file } }, server).catch((error: unknown) => error);
      expect(refused).to.be.instanceOf(Gate64Error).with.property('code', 'G64_CONFIG_INVALID');
      expect((refused as Error).message).to.include(file);
    }
    await server.stop();
  });
});
