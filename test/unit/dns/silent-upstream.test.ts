// SPDX-License-Identifier: Apache-2.0
// An upstream that takes connections and says nothing must cost its questions an answer, and gate64 nothing else.

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { expect } from 'chai';
import { FrameReader, frame } from '../../../src/dns/frames.ts';
import { makeCertificate } from './certificate.ts';
import { encode, rr } from './scripted-server.ts';
import type { Flood, Later } from './silent-upstream.child.ts';

const CHILD = join(import.meta.dirname, 'silent-upstream.child.ts');
/** A child whose event loop stands still is ended from here. */
const PATIENCE_MS = 20_000;

describe('an upstream that accepts and stays silent', function () {
  this.timeout(PATIENCE_MS + 5000);
  let directory: string;
  let server: Server;
  let child: ChildProcess | undefined;
  let isSilent = true;
  const questions = { heard: 0 };

  before(async () => {
    const { key, cert } = makeCertificate();
    directory = mkdtempSync(join(tmpdir(), 'gate64-silent-'));
    writeFileSync(join(directory, 'cert.pem'), cert);
    server = createServer({ key, cert }, (socket) => {
      const reader = new FrameReader();
      socket.on('error', () => socket.destroy());
      socket.on('data', (chunk: Buffer) =>
        reader.push(chunk, (query) => {
          questions.heard++;
          if (!isSilent) socket.write(frame(encode(query, { answers: [rr.aaaa('later.example', '2001:db8::1')] })));
        }),
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  after(() => {
    child?.kill('SIGKILL');
    server.close();
    rmSync(directory, { recursive: true });
  });

  it('leaves 10 000 questions answered in time, nothing behind, and is used again once it answers', async () => {
    const { port } = server.address() as AddressInfo;
    child = fork(CHILD, [String(port)], { env: { ...process.env, NODE_EXTRA_CA_CERTS: join(directory, 'cert.pem') } });
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const [flood] = (await once(child, 'message', { signal })) as [Flood];
    expect(flood.rcodes, 'all SERVFAIL').to.deep.equal({ 2: 10_000 });
    expect(flood.slowestMs).to.be.below(2500);
    expect(flood.standstillMs).to.be.below(1000);
    expect([flood.pending, flood.inFlight]).to.deep.equal([0, 0]);
    expect(questions.heard, 'what it does not answer is not heaped upon it').to.be.below(20_000);
    isSilent = false;
    child.send('ask');
    const [later] = (await once(child, 'message', { signal })) as [Later];
    expect(later.rcode).to.equal(0);
    expect(later.elapsedMs).to.be.below(1000);
  });
});
