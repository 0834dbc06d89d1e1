// SPDX-License-Identifier: Apache-2.0
// sessions, bindings, pool, drops: what they list, as table and as JSON, and how they filter.

import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../../src/addr/ip.ts';
import { DROP_TEXTS } from '../../../src/model/drops.gen.ts';
import type { CliContext } from '../../../src/cli/context.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { NameTable } from '../../../src/names/name-table.ts';
import { MemoryReader, blockRow, sessionRow, type ReaderRows } from '../../helpers/reader.ts';
import { NOW, cli, withFile, type CliSetup } from './helper.ts';

const SESSIONS = [
  sessionRow(NOW, { lastSeenAt: NOW - 5000 }),
  sessionRow(NOW, {
    protocol: 'udp',
    state: 'open',
    source: { v6: parseIp6('2001:db8::6'), port: 5000 },
    destination: { v4: parseIp4('198.51.100.9'), port: 53 },
    destination6: parseIp6('2001:db8:64::198.51.100.9'),
    lastSeenAt: NOW - 1000,
    expiresAt: NOW - 10,
  }),
  sessionRow(NOW, { protocol: 'icmp', state: 'open', lastSeenAt: NOW - 3000 }),
];

function reading(rows: ReaderRows, setup: CliSetup = {}): CliSetup {
  return { ...setup, context: { openReader: () => Promise.resolve(new MemoryReader(rows)), ...setup.context } };
}

async function listed(args: string[], rows: ReaderRows, setup: CliSetup = {}): Promise<Record<string, unknown>[]> {
  const result = await cli(args, reading(rows, setup));
  expect(result.stderr).to.equal('');
  expect(result.code).to.equal(0);
  return JSON.parse(result.stdout);
}

describe('gate64 sessions', () => {
  it('lists as JSON what the reader holds, the most recently used first', async () => {
    const rows = await listed(['sessions'], { sessions: SESSIONS });
    expect(rows.map((row) => row['protocol'])).to.deep.equal(['udp', 'icmp', 'tcp']);
    expect(rows[2]).to.deep.equal({
      protocol: 'tcp',
      state: 'established',
      source: { address: '2001:db8::5', port: 40_000 },
      name: null,
      nameGuessed: false,
      destination6: '2001:db8:64::cb00:7107',
      pool: { address: '192.0.2.1', port: 61_001 },
      destination: { address: '203.0.113.7', port: 443 },
      createdAt: '2026-01-02T03:03:05.000Z',
      lastSeenAt: '2026-01-02T03:04:00.000Z',
      expiresAt: '2026-01-02T05:04:00.000Z',
      idleSeconds: 5,
      expiresInSeconds: 7195,
      packetsOut: 10,
      bytesOut: 1536,
      packetsIn: 20,
      bytesIn: 3_145_728,
    });
  });

  it('says 0 seconds left of a session that expired and was not swept yet', async () => {
    const [row] = await listed(['sessions', '--proto', 'udp'], { sessions: SESSIONS });
    expect(row?.['expiresInSeconds']).to.equal(0);
  });

  const filters: [string[], string[]][] = [
    [['--proto', 'tcp'], ['tcp']],
    [['--src', '2001:db8::6'], ['udp']],
    [
      ['--src', '2001:db8::/64'],
      ['udp', 'icmp', 'tcp'],
    ],
    [['--dst', '198.51.100.0/24'], ['udp']],
    [['--dst', '2001:db8:64::198.51.100.9'], ['udp']],
    [
      ['--state', 'open'],
      ['udp', 'icmp'],
    ],
    [
      ['--limit', '2'],
      ['udp', 'icmp'],
    ],
    [['--state', 'open', '--dst', '203.0.113.7'], ['icmp']],
    [['--src', '2001:db8:1::/64'], []],
  ];
  for (const [args, expected] of filters) {
    it(`filters by ${args.join(' ')}`, async () => {
      const rows = await listed(['sessions', ...args], { sessions: SESSIONS });
      expect(rows.map((row) => row['protocol'])).to.deep.equal(expected);
    });
  }

  it('filters by a name where none are kept, through the A records and the synthesized AAAA records it has', async () => {
    const asked: string[] = [];
    const setup: CliSetup = {
      context: {
        lookup: (server, name, type) => {
          asked.push(`${server.host}:${server.port} ${name} ${type}`);
          const address = type === 'A' ? '192.0.2.200' : '64:ff9b::198.51.100.9';
          return Promise.resolve({ rcode: 0, records: [{ name, address, ttlSeconds: 60 }] });
        },
      },
    };
    const rows = await listed(['sessions', '--name', 'v4only.example'], { sessions: SESSIONS }, setup);
    expect(rows.map((row) => row['protocol'])).to.deep.equal(['udp']);
    expect(asked).to.deep.equal(['127.0.0.1:5364 v4only.example A', '127.0.0.1:5364 v4only.example AAAA']);
  });

  it('says so when a name leads nowhere', async () => {
    const result = await cli(['sessions', '--name', 'nowhere.example'], reading({ sessions: SESSIONS }));
    expect(result.code).to.equal(1);
    expect(result.stderr).to.include('gate64: "nowhere.example" leads to no IPv4 address').and.include('hint: ');
  });

  describe('names', () => {
    /** What was asked when the sessions began, a minute ago. */
    function named(...asked: [name: string, address: string, client?: string][]): CliSetup {
      const names = new NameTable({ now: () => NOW });
      names.restore(
        asked.map(([name, address, client = '']) => {
          const at = NOW - 61_000;
          return { name, v4: parseIp4(address), client, firstAt: at, lastAt: at, countsUntil: NOW + 3_600_000 };
        }),
        NOW,
      );
      return { context: { readNames: () => names } };
    }
    const kept = named(['github.com', '203.0.113.7', '2001:db8::5'], ['dns.example', '198.51.100.9', '2001:db8::99']);

    it('stand in JSON, and whether each is a guess', async () => {
      const rows = await listed(['sessions'], { sessions: SESSIONS }, kept);
      expect(rows.map((row) => [row['protocol'], row['name'], row['nameGuessed']])).to.deep.equal([
        ['udp', 'dns.example', true],
        ['icmp', 'github.com', false],
        ['tcp', 'github.com', false],
      ]);
    });

    const filters: [string, string[]][] = [
      ['github.com', ['icmp', 'tcp']],
      ['GitHub.com.', ['icmp', 'tcp']],
      ['*.example', ['udp']],
      ['*.EXAMPLE.', ['udp']],
      ['*.github.com', []],
      ['hub.com', []],
      ['unheard.example', []],
    ];
    for (const [name, expected] of filters) {
      it(`--name ${name} filters by them and asks nobody`, async () => {
        const setup: CliSetup = {
          context: { ...kept.context, lookup: () => Promise.reject(new Error('not expected here')) },
        };
        const rows = await listed(['sessions', '--name', name], { sessions: SESSIONS }, setup);
        expect(rows.map((row) => row['protocol'])).to.deep.equal(expected);
      });
    }

    it('--server adds what a resolver answers now', async () => {
      const asked: string[] = [];
      const lookup: CliContext['lookup'] = (server, name, type) => {
        asked.push(`${server.host}:${server.port} ${type}`);
        const records = type === 'A' ? [{ name, address: '198.51.100.9', ttlSeconds: 60 }] : [];
        return Promise.resolve({ rcode: 0, records });
      };
      const args = ['sessions', '--name', 'github.com', '--server', '192.0.2.53'];
      const rows = await listed(args, { sessions: SESSIONS }, { context: { ...kept.context, lookup } });
      expect(rows.map((row) => row['protocol'])).to.deep.equal(['udp', 'icmp', 'tcp']);
      expect(asked).to.deep.equal(['192.0.2.53:53 A', '192.0.2.53:53 AAAA']);
    });

    it('have a question mark in the table where they are guesses', async () => {
      const { stdout } = await cli(['sessions', '-o', 'table'], reading({ sessions: SESSIONS }, kept));
      const lines = stdout.split('\n');
      expect(lines[1]).to.include(' dns.example? ');
      expect(lines[3]).to.include(' github.com ');
    });

    it('of any length leave a terminal its lines', async () => {
      const label = '\\255'.repeat(63);
      const setup = named([`${label}.${label}.${label}.evil.example`, '203.0.113.7', '2001:db8::5']);
      const { stdout } = await cli(['sessions'], reading({ sessions: SESSIONS }, { terminal: 160, ...setup }));
      expect(stdout).to.include('.evil.example ');
      expect(stdout.split('\n').every((line) => line.length <= 160)).to.equal(true);
    });
  });

  it('prints a table on a terminal', async () => {
    const result = await cli(['sessions', '--proto', 'tcp'], reading({ sessions: SESSIONS }, { terminal: 200 }));
    expect(result.stdout).to.equal(
      [
        'PROTO  STATE        SOURCE               POOL             DESTINATION      NAME  IDLE  EXPIRES      OUT       IN',
        'tcp    established  [2001:db8::5]:40000  192.0.2.1:61001  203.0.113.7:443  -       5s    1h59m  1.5 KiB  3.0 MiB',
        '',
      ].join('\n'),
    );
  });

  it('leaves out what does not fit a narrow terminal and says so', async () => {
    const result = await cli(['sessions'], reading({ sessions: SESSIONS }, { terminal: 90 }));
    const lines = result.stdout.trimEnd().split('\n');
    expect(lines.slice(0, -1).every((line) => line.length <= 90)).to.equal(true);
    expect(lines.at(-1)).to.equal('(no room for IDLE, OUT, IN; -o json has all)');
    expect(lines[0])
      .to.match(/^PROTO .* DESTINATION/)
      .and.include('EXPIRES');
  });

  it('says how many a limit left out', async () => {
    const result = await cli(['sessions', '--limit', '1', '-o', 'table'], reading({ sessions: SESSIONS }));
    expect(result.stdout).to.include('1 of 3 sessions; --limit 3 lists all');
  });

  it('says that there are none', async () => {
    expect((await cli(['sessions', '-o', 'table'], reading({}))).stdout).to.equal('no sessions\n');
    expect(await listed(['sessions'], {})).to.deep.equal([]);
  });

  const wrong = [
    ['--src', '10.0.0.1'],
    ['--dst', 'nonsense'],
    ['--dst', '192.0.2.1/24'],
    ['--proto', 'sctp'],
    ['--state', 'asleep'],
    ['--limit', '0'],
    ['--limit', '1.5'],
    ['-o', 'xml'],
    ['--nope'],
    ['extra'],
  ];
  for (const args of wrong) {
    it(`refuses ${args.join(' ')} with exit code 2 and one line`, async () => {
      const result = await cli(['sessions', ...args], reading({ sessions: SESSIONS }));
      expect(result.code).to.equal(2);
      expect(result.stdout).to.equal('');
      expect(result.stderr).to.match(/^gate64: /);
      expect(result.stderr).to.not.match(/\n\s+at /);
    });
  }

  it('gives the maps back, also when it fails', async () => {
    const reader = new MemoryReader({ sessions: SESSIONS });
    await cli(['sessions'], { context: { openReader: () => Promise.resolve(reader) } });
    expect(reader.disposed).to.equal(true);
    const failing = new MemoryReader();
    failing.sessions = () => {
      throw new Gate64Error('G64_DATAPATH_LAYOUT', 'the pinned maps have layout 9');
    };
    const result = await cli(['sessions'], { context: { openReader: () => Promise.resolve(failing) } });
    expect(failing.disposed).to.equal(true);
    expect(result).to.deep.equal({ code: 1, stdout: '', stderr: 'gate64: the pinned maps have layout 9\n' });
  });
});

describe('gate64 bindings', () => {
  const bindings = [
    {
      protocol: 'udp' as const,
      source: { v6: parseIp6('2001:db8::6'), port: 5000 },
      pool: { v4: parseIp4('192.0.2.1'), port: 5000 },
      sessions: 3,
      isStatic: false,
      createdAt: NOW - 120_000,
    },
    {
      protocol: 'tcp' as const,
      source: { v6: parseIp6('2001:db8::5'), port: 80 },
      pool: { v4: parseIp4('192.0.2.2'), port: 8080 },
      sessions: 0,
      isStatic: true,
      createdAt: NOW - 5000,
    },
  ];

  it('lists them by pod', async () => {
    const rows = await listed(['bindings'], { bindings });
    expect(rows[0]).to.deep.equal({
      protocol: 'tcp',
      source: { address: '2001:db8::5', port: 80 },
      pool: { address: '192.0.2.2', port: 8080 },
      sessions: 0,
      static: true,
      createdAt: '2026-01-02T03:04:00.000Z',
    });
    expect(rows[1]?.['sessions']).to.equal(3);
  });

  it('prints a table', async () => {
    const { stdout } = await cli(['bindings', '-o', 'table'], reading({ bindings }));
    const [, first, second] = stdout.split('\n');
    expect(first).to.match(/^tcp +\[2001:db8::5\]:80 +192\.0\.2\.2:8080 +0 +static +5s$/);
    expect(second).to.match(/^udp +\[2001:db8::6\]:5000 +192\.0\.2\.1:5000 +3 +dynamic +2m$/);
  });
});

describe('gate64 pool', () => {
  const blocks = [
    blockRow({
      index: 1,
      firstPort: 1280,
      state: 'leased',
      holder: parseIp6('2001:db8::5'),
      since: NOW - 3_600_000,
      used: { tcp: 12, udp: 3, icmp: 0 },
    }),
    blockRow({ index: 0 }),
    blockRow({ index: 2, v4: parseIp4('192.0.2.2'), state: 'resting' }),
  ];

  it('shows addresses with their ports, and who holds which block since when', async () => {
    const { stdout } = await cli(['pool'], reading({ blocks }));
    const json = JSON.parse(stdout);
    expect(json.addresses).to.deep.equal([
      {
        address: '192.0.2.1',
        ports: { total: 512, used: { tcp: 12, udp: 3, icmp: 0 } },
        blocks: { offered: 1, leased: 1, resting: 0, retired: 0 },
      },
      {
        address: '192.0.2.2',
        ports: { total: 256, used: { tcp: 0, udp: 0, icmp: 0 } },
        blocks: { offered: 0, leased: 0, resting: 1, retired: 0 },
      },
    ]);
    expect(json.blocks).to.have.length(3);
    expect(json.blocks[1]).to.deep.equal({
      index: 1,
      address: '192.0.2.1',
      firstPort: 1280,
      lastPort: 1535,
      state: 'leased',
      holder: '2001:db8::5',
      since: '2026-01-02T02:04:05.000Z',
      used: { tcp: 12, udp: 3, icmp: 0 },
    });
  });

  it('prints the addresses, then the leased blocks', async () => {
    const { stdout } = await cli(['pool', '-o', 'table'], reading({ blocks }));
    const lines = stdout.split('\n');
    expect(lines[1]).to.match(/^192\.0\.2\.1 +512 +12 +3 +0 +1 +1 +0 +0$/);
    expect(lines[5]).to.match(/^2001:db8::5 +192\.0\.2\.1:1280-1535 +1h +12 +3 +0$/);
  });

  it('says that nothing is leased', async () => {
    const { stdout } = await cli(['pool', '-o', 'table'], reading({ blocks: [blockRow()] }));
    expect(stdout).to.include('no pod holds a block');
  });
});

describe('gate64 drops', () => {
  const drops = [
    { reason: 'hop_limit' as const, direction: '4to6' as const, count: 2, last: undefined },
    {
      reason: 'dst_never' as const,
      direction: '6to4' as const,
      count: 17,
      last: {
        at: NOW - 65_000,
        source: '2001:db8::5',
        destination: '64:ff9b::a9fe:a9fe',
        protocol: 6,
        sourcePort: 40_000,
        destinationPort: 80,
        icmpType: null,
        icmpCode: null,
        length: 60,
      },
    },
  ];

  it('lists reason, direction, count and the last packet, the most frequent first', async () => {
    const rows = await listed(['drops'], { drops });
    expect(rows).to.deep.equal([
      {
        reason: 'dst_never',
        direction: '6to4',
        count: 17,
        last: {
          at: '2026-01-02T03:03:00.000Z',
          source: '2001:db8::5',
          destination: '64:ff9b::a9fe:a9fe',
          protocol: 6,
          sourcePort: 40_000,
          destinationPort: 80,
          icmpType: null,
          icmpCode: null,
          length: 60,
        },
      },
      { reason: 'hop_limit', direction: '4to6', count: 2, last: null },
    ]);
  });

  it('prints a table', async () => {
    const { stdout } = await cli(['drops', '-o', 'table'], reading({ drops }));
    const lines = stdout.split('\n');
    expect(lines[1]).to.match(
      /^dst_never +6to4 +17 +1m5s ago +tcp \[2001:db8::5\]:40000 -> \[64:ff9b::a9fe:a9fe\]:80$/,
    );
    expect(lines[2]).to.match(/^hop_limit +4to6 +2 +- +-$/);
  });

  it('--explain says what each reason means', async () => {
    const { stdout } = await cli(['drops', '--explain'], reading({ drops }, { terminal: 80 }));
    expect(stdout.replaceAll(/\s+/g, ' ')).to.include(`dst_never ${DROP_TEXTS.dst_never}`);
    expect(stdout.split('\n').every((line) => line.length <= 100)).to.equal(true);
    const rows = await listed(['drops', '--explain'], { drops });
    expect(rows[1]?.['explanation']).to.equal(DROP_TEXTS.hop_limit);
  });

  it('says that there were none', async () => {
    expect((await cli(['drops', '--explain', '-o', 'table'], reading({}))).stdout).to.equal('no packet was refused\n');
  });
});

describe('reading commands', () => {
  for (const command of ['sessions', 'bindings', 'pool', 'drops']) {
    it(`${command} says what to do when the node has no data plane`, async () => {
      const missing = new Gate64Error('G64_DATAPATH_MISSING', 'no gate64 data plane is on this node', {
        hint: 'start it with gate64 run',
      });
      const result = await cli([command], { context: { openReader: () => Promise.reject(missing) } });
      expect(result).to.deep.equal({
        code: 1,
        stdout: '',
        stderr: 'gate64: no gate64 data plane is on this node\nhint: start it with gate64 run\n',
      });
    });
  }

  it('--debug adds the stack', async () => {
    const openReader = () => Promise.reject(new Error('boom'));
    expect((await cli(['pool'], { context: { openReader } })).stderr).to.equal('gate64: boom\n');
    expect((await cli(['--debug', 'pool'], { context: { openReader } })).stderr).to.match(
      /^gate64: boom\nError: boom\n +at /,
    );
  });

  it('configuration files that are wrong stop status before it asks anybody', async () => {
    await withFile('dns: {enabled: maybe}\n', async (file) => {
      const { code, stderr } = await cli(['status', '-c', file]);
      expect(code).to.equal(1);
      expect(stderr).to.equal(`${file}:1:16: dns.enabled: "maybe" is not true or false\n`);
    });
  });
});
