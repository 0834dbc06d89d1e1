// SPDX-License-Identifier: Apache-2.0
// run, check, status, addr, resolve, uninstall, version, and the command line as a whole.

import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import { AcceptedFile } from '../../../src/config/accepted.ts';
import type { Config } from '../../../src/config/config.ts';
import type { LoadedConfig } from '../../../src/config/load.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { MemoryReader, bindingRow, blockRow, sessionRow } from '../../helpers/reader.ts';
import { NOW, cli, serviceStatus, withFile } from './helper.ts';

describe('gate64 check', () => {
  it('exits 0 for a good file, with its warnings on stderr', async () => {
    await withFile('nat64: { timeouts: { tcpTransitory: 100 } }\n', async (file) => {
      const result = await cli(['check', '-c', file]);
      expect(result.code).to.equal(0);
      expect(result.stdout).to.equal(`${file}: ok\n`);
      expect(result.stderr).to.match(/^.*gate64\.yaml:1:37: nat64\.timeouts\.tcpTransitory: 100 is below 240 .*\n$/);
    });
  });

  it('exits 1 with a line for each problem and nothing else', async () => {
    await withFile('prefix: 2001:db8::/72\nnope: 1\n', async (file) => {
      const result = await cli(['check', '-c', file]);
      expect(result.code).to.equal(1);
      expect(result.stdout).to.equal('');
      expect(
        result.stderr
          .trimEnd()
          .split('\n')
          .map((line) => line.slice(file.length, file.length + 5)),
      ).to.deep.equal([':1:9:', ':2:1:']);
    });
  });

  it('-o json lists the problems with their places', async () => {
    await withFile('log: { level: loud }\n', async (file) => {
      const result = await cli(['check', '-c', file, '-o', 'json']);
      expect(result.code).to.equal(1);
      expect(JSON.parse(result.stdout)).to.deep.equal({
        file,
        valid: false,
        problems: [
          { line: 1, column: 15, message: 'log.level: "loud" is not trace or debug or info or warn or error' },
        ],
        warnings: [],
      });
      expect(result.stderr).to.equal('');
    });
  });

  it('exits 1 when the file does not exist, and says what to do', async () => {
    const result = await cli(['check', '-c', '/nonexistent/gate64.yaml']);
    expect(result.code).to.equal(1);
    expect(result.stderr).to.match(/^gate64: \/nonexistent\/gate64\.yaml: there is no such file\nhint: /);
  });
});

describe('gate64 run', () => {
  it('runs the service with the configuration and hands on its exit code', async () => {
    const seen: Config[] = [];
    for (const code of [0, 1]) {
      const runService = ({ config }: LoadedConfig) => Promise.resolve((seen.push(config), code));
      await withFile('nat64: { egress: direct }\n', async (file) => {
        expect((await cli(['run', '-c', file], { context: { runService } })).code).to.equal(code);
      });
    }
    expect(seen.map((config) => config.nat64.egress)).to.deep.equal(['direct', 'direct']);
  });

  it('does not start with a wrong configuration', async () => {
    let started = false;
    const runService = () => Promise.resolve(((started = true), 0));
    await withFile('dns:\n  listen: [127.0.0.1]\n', async (file) => {
      const result = await cli(['run', '-c', file], { context: { runService } });
      expect(result.code).to.equal(1);
      expect(result.stderr).to.match(
        /gate64\.yaml:2:12: dns\.listen\[0\]: "127\.0\.0\.1" is not an address with a port/,
      );
      expect(started).to.equal(false);
    });
  });

  it('a wrong configuration is stood in for by the one accepted before', async () => {
    const seen: LoadedConfig[] = [];
    const runService = (loaded: LoadedConfig) => Promise.resolve((seen.push(loaded), 0));
    await withFile('nonsense: 1\n', async (file) => {
      const accepted = new AcceptedFile(`${file}.accepted`);
      accepted.write(file, 'nat64: { egress: direct }\n');
      expect((await cli(['run', '-c', file], { context: { runService, accepted } })).code).to.equal(0);
    });
    expect(seen.map(({ config }) => config.nat64.egress)).to.deep.equal(['direct']);
    expect(seen[0]?.refused?.message).to.match(/gate64\.yaml:1:1: /);
  });

  it('tells in two lines why the service could not start', async () => {
    const error = new Gate64Error('G64_NO_UPLINK', 'no interface leads to the IPv4 internet', {
      hint: 'set nat64.uplink',
    });
    const result = await cli(['run'], { context: { runService: () => Promise.reject(error) } });
    expect(result.code).to.equal(1);
    expect(result.stderr).to.equal('gate64: no interface leads to the IPv4 internet\nhint: set nat64.uplink\n');
  });
});

describe('gate64 uninstall', () => {
  it('uninstalls with the configured device', async () => {
    const devices: string[] = [];
    const uninstall = (config: Config) => {
      devices.push(config.nat64.device);
      return Promise.resolve(['removed: device g64']);
    };
    await withFile('nat64: { device: nat6 }\n', async (file) => {
      const result = await cli(['uninstall', '-c', file], { context: { uninstall } });
      expect(result).to.deep.equal({ code: 0, stdout: 'removed: device g64\ngate64 is off this node\n', stderr: '' });
    });
    expect(devices).to.deep.equal(['nat6']);
  });
});

describe('gate64 status', () => {
  const reader = () =>
    Promise.resolve(
      new MemoryReader({
        sessions: [sessionRow(NOW), sessionRow(NOW, { protocol: 'udp', state: 'open' })],
        bindings: [bindingRow(NOW)],
        blocks: [blockRow(), blockRow({ index: 1, state: 'leased', v4: parseIp4('192.0.2.2') })],
        drops: (['hop_limit', 'filtered', 'no_binding', 'protocol'] as const).map((reason, i) => ({
          reason,
          direction: '6to4' as const,
          count: 10 - i,
          last: undefined,
        })),
      }),
    );

  it('exits 0 when both halves can serve', async () => {
    const fetchStatus = () => Promise.resolve(serviceStatus());
    const result = await cli(['status', '-o', 'table'], { context: { fetchStatus, openReader: reader } });
    expect(result.code).to.equal(0);
    expect(result.stdout).to.equal(
      [
        'service        up for 1m30s, version 1.2.3, pid 4711',
        'dns            ready',
        '  listen       127.0.0.1:5364',
        '  upstreams    192.0.2.53:53',
        'nat64          ready',
        '  way out      direct by eth0',
        '  attached     tcx, with the sessions of the process before',
        'configuration  /etc/gate64/gate64.yaml',
        '  last read    2026-01-02T03:04:05.000Z accepted',
        'sessions       1 tcp, 1 udp, 0 icmp',
        'bindings       1 tcp, 0 udp, 0 icmp',
        'blocks         2 in all, 1 free, 1 leased',
        'drops          10 hop_limit, 9 filtered, 8 no_binding',
        '',
      ].join('\n'),
    );
  });

  it('exits 1 when a half is not ready, with the reasons', async () => {
    const status = serviceStatus();
    const fetchStatus = () =>
      Promise.resolve({ ...status, nat64: { ...status.nat64, ready: false, reasons: ['the uplink eth0 is down'] } });
    const result = await cli(['status', '-o', 'table'], { context: { fetchStatus, openReader: reader } });
    expect(result.code).to.equal(1);
    expect(result.stdout).to.include('nat64          not ready: the uplink eth0 is down\n');
  });

  it('shows a reload that was refused', async () => {
    const lastReload = {
      at: '2026-01-02T03:00:00.000Z',
      successful: false,
      error: 'gate64.yaml:3:1: x is not a known key',
    };
    const fetchStatus = () => Promise.resolve(serviceStatus({ config: { file: 'gate64.yaml', lastReload } }));
    const { stdout } = await cli(['status', '-o', 'table'], { context: { fetchStatus, openReader: reader } });
    expect(stdout).to.match(/last read +2026-01-02T03:00:00\.000Z refused\n +gate64\.yaml:3:1: x is not a known key\n/);
  });

  it('reads the maps while the service is down, and exits 1', async () => {
    const result = await cli(['status'], { context: { openReader: reader } });
    expect(result.code).to.equal(1);
    const json = JSON.parse(result.stdout);
    expect(json).to.deep.include({ ready: false, service: null });
    expect(json.datapath).to.deep.include({
      present: true,
      sessions: { tcp: 1, udp: 1, icmp: 0 },
      blocks: { total: 2, free: 1, leased: 1 },
    });
    const table = await cli(['status', '-o', 'table'], { context: { openReader: reader } });
    expect(table.stdout).to.match(/^service +down: nothing answers at 127\.0\.0\.1:9164\n/);
  });

  it('reads the maps while the service hangs, and exits 1', async () => {
    const error = new Gate64Error('G64_SERVICE_DOWN', '127.0.0.1:9164 gives no status: no answer within 2 s');
    const fetchStatus = () => Promise.reject(error);
    const result = await cli(['status', '-o', 'table'], { context: { fetchStatus, openReader: reader } });
    expect(result.code).to.equal(1);
    expect(result.stdout).to.match(
      /^service +not answering: 127\.0\.0\.1:9164 gives no status: no answer within 2 s\n/,
    );
    expect(result.stdout).to.include('1 tcp, 1 udp');
    const { service, serviceProblem } = JSON.parse(
      (await cli(['status'], { context: { fetchStatus, openReader: reader } })).stdout,
    );
    expect([service, serviceProblem]).to.deep.equal([null, error.message]);
  });

  it('says so when there is no data plane either', async () => {
    const openReader = () =>
      Promise.reject(new Gate64Error('G64_DATAPATH_MISSING', 'no gate64 data plane is on this node'));
    const result = await cli(['status'], { context: { openReader } });
    expect(result.code).to.equal(1);
    expect(JSON.parse(result.stdout).datapath).to.deep.include({
      present: false,
      problem: 'no gate64 data plane is on this node',
    });
  });
});

describe('gate64 addr', () => {
  const json = async (args: string[]) => JSON.parse((await cli(['addr', ...args])).stdout);

  it('composes and extracts, with each prefix length', async () => {
    // RFC 6052 §2.4
    const vectors = [
      ['2001:db8::/32', '2001:db8:c000:221::'],
      ['2001:db8:100::/40', '2001:db8:1c0:2:21::'],
      ['2001:db8:122::/48', '2001:db8:122:c000:2:2100::'],
      ['2001:db8:122:300::/56', '2001:db8:122:3c0:0:221::'],
      ['2001:db8:122:344::/64', '2001:db8:122:344:c0:2:2100:0'],
      ['2001:db8:122:344::/96', '2001:db8:122:344::c000:221'],
    ];
    for (const [prefix, ipv6] of vectors) {
      if (prefix === undefined || ipv6 === undefined) throw new Error('a vector is a pair');
      const there = await json(['192.0.2.33', '--prefix', prefix]);
      const back = await json([ipv6, '--prefix', prefix]);
      expect(there.ipv4).to.equal('192.0.2.33');
      expect(back).to.deep.equal(there);
    }
  });

  it('uses the prefixes of the configuration', async () => {
    await withFile('prefix: [2001:db8:64::/96, 2001:db8:65::/96]\n', async (file) => {
      expect((await json(['203.0.113.7', '-c', file])).map((row: { prefix: string }) => row.prefix)).to.deep.equal([
        '2001:db8:64::/96',
        '2001:db8:65::/96',
      ]);
      expect((await json(['2001:db8:65::203.0.113.7', '-c', file])).ipv4).to.equal('203.0.113.7');
    });
  });

  it('says when an address is not global and the prefix is the well-known one', async () => {
    expect(await json(['10.1.2.3'])).to.deep.equal({
      ipv4: '10.1.2.3',
      ipv6: '64:ff9b::a01:203',
      prefix: '64:ff9b::/96',
      global: false,
      refused:
        'private use: not global, refused under 64:ff9b::/96 (RFC 6052 3.1), unless nat64.allowNonGlobalIpv4 has it; ' +
        'a prefix of your own leads there',
    });
    expect((await json(['10.1.2.3', '--prefix', '2001:db8:64::/96'])).refused).to.equal(null);
    expect((await json(['64:ff9b::169.254.169.254'])).refused).to.match(
      /^link-local, cloud metadata: refused under every/,
    );
    expect((await json(['1.1.1.1'])).refused).to.equal(null);
  });

  it('judges by the configuration', async () => {
    const text = 'nat64: { allowNonGlobalIpv4: [198.51.100.0/24, 169.254.0.0/16], deny: [203.0.113.0/24] }\n';
    await withFile(text, async (file) => {
      expect((await json(['198.51.100.7', '-c', file])).refused).to.equal(null);
      expect((await json(['169.254.169.254', '-c', file])).refused).to.equal(null);
      expect((await json(['203.0.113.7', '-c', file])).refused).to.equal('nat64.deny has 203.0.113.0/24');
    });
    expect((await json(['127.0.0.1'])).refused).to.equal("an address of this node or of gate64's pool");
  });

  it('prints a table', async () => {
    const { stdout } = await cli(['addr', '1.2.3.4', '-o', 'table']);
    expect(stdout).to.equal(
      'ipv4        1.2.3.4\nipv6        64:ff9b::102:304\nprefix      64:ff9b::/96\ntranslated  yes\n',
    );
  });

  it('tells wrong use (2) from an address that holds none (1)', async () => {
    for (const args of [
      ['300.1.2.3'],
      ['dns.example'],
      ['fe80::1%eth0'],
      ['1.2.3.4', '--prefix', '64:ff9b::/64'],
      [],
    ]) {
      const result = await cli(['addr', ...args]);
      expect(result.code, args.join(' ')).to.equal(2);
      expect(result.stderr).to.match(/^gate64: /);
    }
    const result = await cli(['addr', '2001:db8::1']);
    expect(result.code).to.equal(1);
    expect(result.stderr).to.equal(
      'gate64: 2001:db8::1 holds no IPv4 address under 64:ff9b::/96\nhint: name the prefix it was made with: --prefix PREFIX\n',
    );
  });
});

describe('gate64 resolve', () => {
  const lookup = (_: unknown, name: string, type: 'A' | 'AAAA') => {
    const address = type === 'A' ? '203.0.113.7' : '64:ff9b::203.0.113.7';
    return Promise.resolve({ rcode: 0, records: [{ name, address, ttlSeconds: 60 }] });
  };

  it('tells synthesized addresses from native ones', async () => {
    const { stdout, code } = await cli(['resolve', 'v4only.example'], { context: { lookup } });
    expect(code).to.equal(0);
    expect(JSON.parse(stdout)).to.deep.equal({
      name: 'v4only.example',
      server: '127.0.0.1:5364',
      rcode: 'NOERROR',
      addresses: [
        { address: '64:ff9b::203.0.113.7', type: 'AAAA', synthesized: true, ipv4: '203.0.113.7', ttlSeconds: 60 },
        { address: '203.0.113.7', type: 'A', synthesized: false, ipv4: null, ttlSeconds: 60 },
      ],
      notSynthesized: [],
    });
  });

  it('says why a private address was not synthesized', async () => {
    const context = {
      lookup: (_: unknown, name: string, type: 'A' | 'AAAA') =>
        Promise.resolve({ rcode: 0, records: type === 'A' ? [{ name, address: '10.9.9.9', ttlSeconds: 60 }] : [] }),
    };
    const { stdout, code } = await cli(['resolve', 'private.example', '-o', 'table'], { context });
    expect(code).to.equal(0);
    expect(stdout).to.match(/^not synthesized: 10\.9\.9\.9: private use: not global, refused under 64:ff9b::\/96/m);
  });

  it('asks the server it is told to', async () => {
    const servers: string[] = [];
    const context = {
      lookup: (server: { host: string; port: number }) => {
        servers.push(`${server.host} ${server.port}`);
        return Promise.resolve({ rcode: 0, records: [] });
      },
    };
    await cli(['resolve', 'a.example', '--server', '[2001:db8::53]:5300'], { context });
    await cli(['resolve', 'a.example', '--server', '192.0.2.53'], { context });
    expect([...new Set(servers)]).to.deep.equal(['2001:db8::53 5300', '192.0.2.53 53']);
  });

  it('exits 1 with the response code when there is no address', async () => {
    const { stdout, code } = await cli(['resolve', 'nowhere.example', '-o', 'table']);
    expect(code).to.equal(1);
    expect(stdout).to.equal('nowhere.example: NXDOMAIN, says 127.0.0.1:5364\n');
  });
});

describe('the command line', () => {
  it('lists every command in its help, with exit code 0', async () => {
    const { stdout, code } = await cli(['--help']);
    expect(code).to.equal(0);
    for (const name of [
      'run',
      'check',
      'import',
      'doctor',
      'status',
      'sessions',
      'bindings',
      'pool',
      'drops',
      'monitor',
      'trace',
      'top',
      'resolve',
      'addr',
      'uninstall',
      'version',
    ]) {
      expect(stdout).to.match(new RegExp(`^  ${name}\\b`, 'm'));
    }
  });

  it('suggests the command that was meant, with exit code 2', async () => {
    const { stderr, code } = await cli(['sesions']);
    expect(code).to.equal(2);
    expect(stderr).to.match(/^gate64: unknown command 'sesions'\n\(Did you mean sessions\?\)\n$/);
  });

  it('exits 2 when called without a command', async () => {
    expect((await cli([])).code).to.equal(2);
  });

  it('prints versions', async () => {
    const { stdout } = await cli(['version']);
    expect(JSON.parse(stdout)).to.deep.include({ gate64: '0.1.0', nodejs: process.versions.node });
    expect((await cli(['--version'])).stdout).to.equal('0.1.0\n');
  });

  it('uses colour only where it is told to', async () => {
    const plain = await cli(['status'], { terminal: 100 });
    const coloured = await cli(['status'], { terminal: 100, colour: true });
    expect(plain.stdout).to.not.include('\u001b[');
    expect(coloured.stdout).to.include('\u001b[31mdown\u001b[39m');
  });
});
