// SPDX-License-Identifier: Apache-2.0
// What configuration files mean: defaults, every key, and how values are written.

import { expect } from 'chai';
import { formatEndpoint, formatIp4Net, formatIp6, formatIp6Net, parseIp4 } from '../../../src/addr/ip.ts';
import type { Config } from '../../../src/config/config.ts';
import type { PoolEntry } from '../../../src/model/pool.ts';
import { parseConfig, parseWithWarnings } from '../../../src/config/parse.ts';

const parse = (text: string): Config => parseConfig(text, 'gate64.yaml');

function poolText(entries: readonly PoolEntry[]): string[] {
  return entries.map(({ addresses, firstPort, lastPort, portsGiven }) => {
    const shown = addresses === 'uplink' ? addresses : addresses.map(formatIp4Net).join(' ');
    return `${shown} ${firstPort}-${lastPort}${portsGiven ? '' : ' (default)'}`;
  });
}

describe('configuration: defaults', () => {
  for (const [name, text] of [
    ['an empty file', ''],
    ['comments alone', '# nothing\n'],
    ['sections without keys', 'dns:\nnat64:\n  timeouts:\nhttp:\nlog:\n'],
    ['an empty mapping', '{}'],
  ] as const) {
    it(`${name} is the defaults`, () => {
      expect(parse(text)).to.deep.equal(parse('{}'));
    });
  }

  const config = parse('');

  it('A6052-3.4-b: the well-known prefix', () => {
    expect(config.prefixes.map(formatIp6Net)).to.deep.equal(['64:ff9b::/96']);
  });

  it('DNS on the loopback, resolv.conf behind it', () => {
    expect(config.dns.listen.map(formatEndpoint)).to.deep.equal(['127.0.0.1:5364', '[::1]:5364']);
    expect(config.dns.excludeAaaa.map(formatIp6Net)).to.deep.equal(['::ffff:0:0/96']);
    const { enabled, upstreams, translateAll, cache } = config.dns;
    expect({ enabled, upstreams, translateAll, cache }).to.deep.equal({
      enabled: true,
      upstreams: [],
      translateAll: false,
      cache: { maxEntries: 20_000, maxBytes: 2 ** 25 },
    });
  });

  it('NAT64 by masquerade from 192.0.0.0/29', () => {
    const { pool, timeouts, ...rest } = config.nat64;
    expect(poolText(pool)).to.deep.equal(['192.0.0.0/29 1024-65535 (default)']);
    expect(rest).to.deep.equal({
      enabled: true,
      device: 'gate64',
      egress: 'masquerade',
      uplink: 'auto',
      blockSize: 'auto',
      maxSessions: 1_048_576,
      maxBlocksPerPod: 'auto',
      maxSessionsPerPod: 65_536,
      destinations: [],
      lowestIpv6Mtu: 1280,
      mssClamp: 'off',
      filtering: 'addressDependent',
      allowNonGlobalIpv4: [],
      deny: [],
      allowNodeAddresses: [],
      accelerate: [],
      allowSources: [],
      podPrefixLength: 128,
      checkSources: 'loose',
      errorSources: 'translator',
      inboundRefresh: 'bounded',
      admit: 'all',
      admitGrace: 300,
      endDeniedSessions: true,
      bindingLog: '',
      static: [],
    });
    expect(timeouts.tcpIncomingSyn).to.equal(6);
  });

  it('N6146-4-b: U4787-5-b: 300 s for UDP', () => expect(config.nat64.timeouts.udp).to.equal(300));
  it('N6146-4-c: 240 s for a TCP connection in transition', () =>
    expect(config.nat64.timeouts.tcpTransitory).to.equal(240));
  it('N6146-4-d: 7200 s for an established TCP connection', () =>
    expect(config.nat64.timeouts.tcpEstablished).to.equal(7200));
  it('N6146-4-f: 2 s for fragments', () => expect(config.nat64.timeouts.fragment).to.equal(2));
  it('N6146-4-g: N6146-3.5.3-e: C5508-2-a: 60 s for ICMP', () => expect(config.nat64.timeouts.icmp).to.equal(60));

  it('HTTP on the loopback, log for people or machines', () => {
    expect(formatEndpoint(config.http.listen)).to.equal('127.0.0.1:9164');
    expect(config.log).to.deep.equal({ level: 'info', format: 'auto' });
  });
});

describe('configuration: values', () => {
  it('A6052-2.2-a: takes each of the six prefix lengths', () => {
    for (const length of [32, 40, 48, 56, 64, 96]) {
      expect(parse(`prefix: 2001:db8::/${length}`).prefixes.map(formatIp6Net)).to.deep.equal([`2001:db8::/${length}`]);
    }
  });

  it('takes several prefixes, RFC 8215 ones too', () => {
    const { prefixes } = parse('prefix: ["64:ff9b::/96", "64:ff9b:1::/48"]');
    expect(prefixes.map(formatIp6Net)).to.deep.equal(['64:ff9b::/96', '64:ff9b:1::/48']);
  });

  it('takes upstreams as addresses, with ports, and over TLS', () => {
    const text = `dns: { upstreams: [192.0.2.53, "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353",
      "tls://192.0.2.53#dns.example", "tls://[2001:db8::53]:8853#dns.example", "tls://192.0.2.53", "fe80::1%eth0", "tls://[fe80::1%eth0]:8853"] }`;
    const shown = parse(text).dns.upstreams.map(
      ({ kind, endpoint, serverName }) => `${kind} ${formatEndpoint(endpoint)} ${serverName ?? '-'}`,
    );
    expect(shown).to.deep.equal([
      'plain 192.0.2.53:53 -',
      'plain 192.0.2.53:5353 -',
      'plain [2001:db8::53]:53 -',
      'plain [2001:db8::53]:5353 -',
      'tls 192.0.2.53:853 dns.example',
      'tls [2001:db8::53]:8853 dns.example',
      'tls 192.0.2.53:853 -',
      'plain [fe80::1%eth0]:53 -',
      'tls [fe80::1%eth0]:8853 -',
    ]);
  });

  const pools: [string, string[]][] = [
    ['egress: direct', ['uplink 61001-65535 (default)']],
    ['egress: direct, pool: [{ addresses: uplink }]', ['uplink 61001-65535 (default)']],
    ['egress: direct, pool: [{ addresses: uplink, ports: 20000-29999 }]', ['uplink 20000-29999']],
    ['egress: direct, pool: [{ addresses: 192.0.2.1 }]', ['192.0.2.1/32 1024-65535 (default)']],
    ['pool: [{ addresses: 192.0.2.0/28, ports: 1-65535 }]', ['192.0.2.0/28 1-65535']],
    ['pool: [{ addresses: [192.0.2.1, 192.0.2.8/30], ports: 80 }]', ['192.0.2.1/32 192.0.2.8/30 80-80']],
    [
      'pool: [{ addresses: 192.0.2.1, ports: [80, 1024-2047, "4096 - 8191"] }]',
      ['192.0.2.1/32 80-80', '192.0.2.1/32 1024-2047', '192.0.2.1/32 4096-8191'],
    ],
    [
      'egress: direct, pool: [{ addresses: [uplink, 192.0.2.1] }]',
      ['192.0.2.1/32 1024-65535 (default)', 'uplink 61001-65535 (default)'],
    ],
    [
      'pool: [{ addresses: 192.0.2.1, ports: 1024-2047 }, { addresses: 192.0.2.1, ports: 2048-4095 }]',
      ['192.0.2.1/32 1024-2047', '192.0.2.1/32 2048-4095'],
    ],
  ];
  for (const [text, expected] of pools) {
    it(`pool of { ${text} }`, () => {
      expect(poolText(parse(`nat64: { ${text} }`).nat64.pool)).to.deep.equal(expected);
    });
  }

  it('takes static bindings', () => {
    const [binding] = parse('nat64: { static: [{ protocol: tcp, ipv6: "[2001:db8::5]:80", ipv4: "192.0.2.2:8080" }] }')
      .nat64.static;
    expect(binding?.protocol).to.equal('tcp');
    expect(formatIp6(binding?.source.v6 ?? new Uint8Array(16))).to.equal('2001:db8::5');
    expect([binding?.source.port, binding?.pool.v4, binding?.pool.port]).to.deep.equal([
      80,
      parseIp4('192.0.2.2'),
      8080,
    ]);
  });

  it('lets one pod port be bound for TCP and UDP alike', () => {
    const { static: bindings } = parse(`nat64: { static: [
      { protocol: tcp, ipv6: "[2001:db8::5]:53", ipv4: "192.0.2.2:53" },
      { protocol: udp, ipv6: "[2001:db8::5]:53", ipv4: "192.0.2.2:53" } ] }`).nat64;
    expect(bindings).to.have.length(2);
  });

  it('N6146-4-a: takes 120 s for UDP, the least there is', () => {
    expect(parse('nat64: { timeouts: { udp: 120 } }').nat64.timeouts.udp).to.equal(120);
  });

  it('B7857-2.1-a: B7857-2.1-b: the timers of half-open and of closed connections are two, and may be lowered with a warning', () => {
    const { config, warnings } = parseWithWarnings('nat64: { timeouts: { tcpClosing: 30 } }', 'gate64.yaml');
    expect(config.nat64.timeouts).to.include({ tcpTransitory: 240, tcpClosing: 30 });
    expect(warnings.map((warning) => warning.message)).to.deep.equal([
      'nat64.timeouts.tcpClosing: 30 is below 240 (RFC 6146 4); segments that come late find their connection gone',
    ]);
  });

  it('warns of a shorter transitory timer, and says where it stands', () => {
    const { config, warnings } = parseWithWarnings('nat64:\n  timeouts:\n    tcpTransitory: 60\n', 'gate64.yaml');
    expect(config.nat64.timeouts.tcpTransitory).to.equal(60);
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.deep.include({ line: 3, column: 20 });
    expect(parseWithWarnings('nat64: { timeouts: { tcpTransitory: 240 } }', 'gate64.yaml').warnings).to.deep.equal([]);
  });

  it('reads anchors and aliases', () => {
    const text = 'nat64:\n  deny: &private [10.0.0.0/8]\n  allowNonGlobalIpv4: *private\n';
    expect(parse(text).nat64.allowNonGlobalIpv4.map(formatIp4Net)).to.deep.equal(['10.0.0.0/8']);
  });
});
