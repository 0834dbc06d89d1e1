// SPDX-License-Identifier: Apache-2.0
// gate64 import as a command: what it prints, what it writes, its exit codes.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseConfig } from '../../../src/config/parse.ts';
import { cli, withFile } from './helper.ts';

const COREFILE = '. {\n  dns64 2001:db8:64::/96 {\n    allow_ipv4\n  }\n  forward . 192.0.2.53\n}\n';

describe('gate64 import', () => {
  it('prints a configuration and exits 0 when all that matters was carried', async () => {
    await withFile(COREFILE, async (file) => {
      const { code, stdout, stderr } = await cli(['import', file]);
      expect([code, stderr]).to.deep.equal([0, '']);
      expect(parseConfig(stdout, 'made').dns.upstreams).to.have.length(1);
    });
  });

  it('exits 1 and names on stderr what matters and was lost', async () => {
    await withFile('prefix 2001:db8:64::/96\nmap 192.0.2.7 2001:db8::7\n', async (file) => {
      const { code, stdout, stderr } = await cli(['import', file]);
      expect(code).to.equal(1);
      expect(stdout).to.include('prefix: 2001:db8:64::/96');
      expect(stderr).to.match(new RegExp(`^${file}:2: "map 192\\.0\\.2\\.7 2001:db8::7": .*; instead: .*\n$`));
    });
  });

  it('writes to a file, and over one only when forced', async () => {
    await withFile(COREFILE, async (file) => {
      const made = `${file}.made`;
      expect((await cli(['import', file, '--output', made])).code).to.equal(0);
      writeFileSync(made, 'mine');
      const refused = await cli(['import', file, '--output', made]);
      expect([refused.code, readFileSync(made, 'utf8')]).to.deep.equal([2, 'mine']);
      expect(refused.stderr).to.include('--force');
      expect((await cli(['import', file, '--output', made, '--force'])).code).to.equal(0);
      expect(readFileSync(made, 'utf8')).to.include('2001:db8:64::/96');
    });
  });

  it('exits 2 for what it does not recognise, unless told what it is', async () => {
    await withFile('offlink-mtu 1480\n', async (file) => {
      expect(await cli(['import', file])).to.deep.include({ code: 2, stdout: '' });
      expect((await cli(['import', file, '--kind', 'tayga'])).code).to.equal(0);
      expect((await cli(['import', file, '--kind', 'dhcp'])).code).to.equal(2);
    });
    expect((await cli(['import'])).code).to.equal(2);
  });

  it('refuses a file that is too large or cannot be read', async () => {
    await withFile(`${COREFILE}${'#'.repeat(1024 * 1024)}`, async (file) => {
      const { code, stdout, stderr } = await cli(['import', file]);
      expect([code, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.include('more than 1048576 octets');
    });
    expect((await cli(['import', '/dev/zero'])).code).to.equal(1);
    expect((await cli(['import', '/nonexistent/Corefile'])).code).to.equal(1);
  });
});
