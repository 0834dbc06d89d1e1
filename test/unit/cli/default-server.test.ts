// SPDX-License-Identifier: Apache-2.0
// Which resolver a command asks that was given none.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { formatEndpoint } from '../../../src/addr/ip.ts';
import { defaultServer } from '../../../src/cli/default-server.ts';
import { parseConfig } from '../../../src/config/parse.ts';

describe('the resolver that is asked by default', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gate64-server-'));
  const file = join(folder, 'resolv.conf');
  after(() => rmSync(folder, { recursive: true }));
  const asked = (config: string) => formatEndpoint(defaultServer(parseConfig(config, 'test'), file));

  it('is gate64’s own where it answers names', () => {
    expect(asked('dns: { listen: ["[2001:db8::53]:5300"] }')).to.equal('[2001:db8::53]:5300');
  });

  it('is that of this machine where DNS64 runs elsewhere', () => {
    writeFileSync(file, 'search x.example\nnameserver fd00:10:96::a\nnameserver 192.0.2.53\n');
    expect(asked('dns: { enabled: false }')).to.equal('[fd00:10:96::a]:53');
  });

  it('is asked for where there is none', () => {
    writeFileSync(file, '# nothing\n');
    expect(() => asked('dns: { enabled: false }')).to.throw(/dns\.enabled is false.*--server/);
  });
});
