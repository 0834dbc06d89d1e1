// SPDX-License-Identifier: Apache-2.0
// What is wrong with a configuration file: found once, at its place, with what was expected.

import { expect } from 'chai';
import { constantFrom, dictionary, jsonValue, oneof, property, string } from 'fast-check';
import { stringify } from 'yaml';
import { parseConfig } from '../../../src/config/parse.ts';
import { ConfigError } from '../../../src/config/problems.ts';
import { holds } from '../../helpers/property.ts';

const FILE = 'gate64.yaml';

function problemsOf(text: string): ConfigError {
  try {
    parseConfig(text, FILE);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error(`no problem was found in ${JSON.stringify(text)}`);
}

/** Title, text, and the one line it must give. */
const CASES: [title: string, text: string, line: string][] = [
  ['an unknown key', 'dns:\n  lisen: []\n', '2:3: dns.lisen is not a known key; did you mean listen?'],
  [
    'a key in another case',
    'nat64: { block_size: 256 }\n',
    '1:10: nat64.block_size is not a known key; did you mean blockSize?',
  ],
  [
    'a key at the wrong level',
    'maxSessions: 5\n',
    '1:1: maxSessions is not a known key; did you mean nat64.maxSessions?',
  ],
  [
    'a key like no other',
    'xyzzy: 1\n',
    '1:1: xyzzy is not a known key; expected one of prefix, dns, nat64, http, telemetry, kubernetes, log',
  ],
  [
    'an unknown key of a list entry',
    'nat64:\n  pool:\n    - addresses: 192.0.2.1\n      port: 80\n',
    '4:7: nat64.pool[0].port is not a known key; did you mean ports?',
  ],
  ['a wrong type', 'dns:\n  enabled: yes\n', '2:12: dns.enabled: "yes" is not true or false'],
  ['too many workers', 'dns:\n  workers: 65\n', '2:12: dns.workers: 65 is not a whole number from 1 to 64'],
  [
    'workers that would admit too late',
    'dns:\n  workers: 2\nnat64:\n  admit: dns\n',
    '2:12: dns.workers: 2 does not go with nat64.admit "dns"; expected 1 or auto',
  ],
  ['a list where a mapping belongs', 'dns: []\n', '1:6: dns: [] is not a mapping of keys'],
  [
    'a value where a list belongs',
    'nat64: { deny: 192.0.2.0/24 }\n',
    '1:16: nat64.deny: "192.0.2.0/24" is not a list of IPv4 networks',
  ],
  [
    'a value that is empty',
    'nat64:\n  device:\n',
    '2:3: nat64.device: an empty value is not the name of a network interface',
  ],
  ['a file that is no mapping', '- 1\n', '1:1: [1] is not a mapping of keys such as "prefix: …"'],
  [
    'a tab',
    'dns:\n\tenabled: true\n',
    '2:1: this is not YAML: Tabs are not allowed as indentation; expected a mapping of keys such as "prefix: 64:ff9b::/96"',
  ],
  [
    'a bracket that stays open',
    'dns: { listen: ["127.0.0.1:53"\n',
    '2:1: this is not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]; expected a mapping of keys such as "prefix: 64:ff9b::/96"',
  ],
  [
    'a key that stands twice',
    'log: {}\nlog: {}\n',
    '2:1: this is not YAML: Map keys must be unique; expected a mapping of keys such as "prefix: 64:ff9b::/96"',
  ],
  ['two documents', 'log: {}\n---\nlog: {}\n', '2:1: another YAML document starts; expected one in the file'],
  [
    'A6052-2.2-c: host bits in a prefix',
    'prefix: 64:ff9b::1/96\n',
    '1:9: prefix: "64:ff9b::1/96" is not a network: bits beyond /96 are set; 64:ff9b::/96 would be one',
  ],
  [
    'A6052-2.2-a: a prefix length of 72',
    'prefix: 2001:db8::/72\n',
    '1:9: prefix: "2001:db8::/72" is not a translation prefix: its length must be one of 32, 40, 48, 56, 64, 96 (RFC 6052)',
  ],
  [
    'A6052-2.2-c: bits 64 to 71 that are set',
    'prefix: ["2001:db8:0:0:100::/96"]\n',
    '1:10: prefix[0]: "2001:db8:0:0:100::/96" is not a translation prefix: bits 64 to 71 must be zero (RFC 6052)',
  ],
  [
    'A6052-2.1-a: the well-known prefix with another length',
    'prefix: 64:ff9b::/64\n',
    '1:9: prefix: "64:ff9b::/64" is not the well-known prefix, which is 64:ff9b::/96 and no other length (RFC 6052)',
  ],
  [
    'a prefix without a length',
    'prefix: "64:ff9b::"\n',
    '1:9: prefix: "64:ff9b::" is not a translation prefix: its length must be one of 32, 40, 48, 56, 64, 96 (RFC 6052)',
  ],
  [
    'no prefix',
    'prefix: []\n',
    '1:9: prefix: [] is not a translation prefix such as 64:ff9b::/96, or a list of these; a list must not be empty',
  ],
  [
    'prefixes that hold each other',
    'prefix: ["2001:db8::/32", "2001:db8:1::/96"]\n',
    '1:27: prefix[1]: 2001:db8:1::/96 overlaps prefix[0] (2001:db8::/32); expected prefixes that do not hold each other',
  ],
  [
    'a pool that overlaps',
    'nat64:\n  pool:\n    - { addresses: 192.0.2.0/24, ports: 1024-2047 }\n    - { addresses: 192.0.2.7, ports: 2000-3000 }\n',
    '4:38: nat64.pool[1].ports: 192.0.2.7 ports 2000-3000 overlaps nat64.pool[0].ports (192.0.2.0/24 ports 1024-2047); expected each address and port in one place',
  ],
  [
    'port ranges of one entry that overlap',
    'nat64: { pool: [{ addresses: 192.0.2.1, ports: [1-9, 9] }] }\n',
    '1:54: nat64.pool[0].ports[1]: 192.0.2.1 ports 9-9 overlaps nat64.pool[0].ports[0] (192.0.2.1 ports 1-9); expected each address and port in one place',
  ],
  [
    'the uplink twice',
    'nat64: { egress: direct, pool: [{ addresses: uplink }, { addresses: uplink, ports: 65000-65535 }] }\n',
    '1:84: nat64.pool[1].ports: uplink ports 65000-65535 overlaps nat64.pool[0].addresses (uplink ports 61001-65535); expected each address and port in one place',
  ],
  [
    'a port range that is reversed',
    'nat64: { pool: [{ addresses: 192.0.2.1, ports: 65535-1024 }] }\n',
    '1:48: nat64.pool[0].ports: "65535-1024" is not a port or a range of ports such as 1024-65535: it is reversed; 1024-65535 would be one',
  ],
  [
    'a port beyond 65535',
    'nat64: { pool: [{ addresses: 192.0.2.1, ports: 1024-65536 }] }\n',
    '1:48: nat64.pool[0].ports: "1024-65536" is not a port or a range of ports such as 1024-65535: the highest port is 65535',
  ],
  [
    'port 0',
    'nat64: { pool: [{ addresses: 192.0.2.1, ports: 0 }] }\n',
    '1:48: nat64.pool[0].ports: 0 is not a port or a range of ports such as 1024-65535: the lowest port is 1',
  ],
  [
    'IPv6 in the pool',
    'nat64: { pool: [{ addresses: 2001:db8::1 }] }\n',
    '1:30: nat64.pool[0].addresses: "2001:db8::1" is not an IPv4 address, an IPv4 network such as 192.0.2.0/28, or "uplink": the pool is the IPv4 side, this is IPv6',
  ],
  [
    'loopback in the pool',
    'nat64: { pool: [{ addresses: 127.0.0.1 }] }\n',
    '1:30: nat64.pool[0].addresses: "127.0.0.1" is not an IPv4 address, an IPv4 network such as 192.0.2.0/28, or "uplink": no packet can come from 127.0.0.0/8 (loopback)',
  ],
  [
    'host bits in the pool',
    'nat64: { pool: [{ addresses: 192.0.2.1/28 }] }\n',
    '1:30: nat64.pool[0].addresses: "192.0.2.1/28" is not a network: bits beyond /28 are set; 192.0.2.0/28 would be one',
  ],
  [
    'a pool entry without addresses',
    'nat64:\n  pool:\n    - ports: 80\n',
    '3:7: nat64.pool[0].addresses is missing; expected an IPv4 address, an IPv4 network such as 192.0.2.0/28, or "uplink", or a list of these',
  ],
  [
    'N6146-3-a: an empty pool',
    'nat64: { pool: [] }\n',
    '1:16: nat64.pool: [] is not a list with an entry in it; leave nat64.pool out for the default',
  ],
  [
    'the uplink as a pool of masquerade',
    'nat64: { pool: [{ addresses: uplink }] }\n',
    '1:30: nat64.pool[0].addresses: "uplink" is for nat64.egress "direct"; expected addresses that the host masquerades, such as 192.0.0.0/29',
  ],
  [
    'a pool that is too large',
    'nat64: { blockSize: 16, pool: [{ addresses: 10.0.0.0/24 }] }\n',
    '1:31: nat64.pool: it makes 1032192 blocks of 16 ports; expected at most 65536: fewer addresses or a larger nat64.blockSize',
  ],
  [
    'more pool addresses than the programs take',
    'nat64: { pool: [{ addresses: 10.0.0.0/21 }] }\n',
    '1:16: nat64.pool: it has 2048 addresses; expected at most 1024',
  ],
  [
    'more prefixes than the programs take',
    `prefix: [${Array.from({ length: 9 }, (_, i) => `"2001:db8:${i + 1}::/96"`).join(', ')}]\n`,
    '1:9: prefix: there are 9; expected at most 8',
  ],
  [
    'a block size that is no power of two',
    'nat64: { blockSize: 100 }\n',
    '1:21: nat64.blockSize: 100 is not a power of two from 16 to 1024',
  ],
  [
    'a listen address without a port',
    'dns: { listen: [127.0.0.1] }\n',
    '1:17: dns.listen[0]: "127.0.0.1" is not an address with a port: the port is missing; 127.0.0.1:5364 would be one',
  ],
  [
    'an IPv6 listen address without a port',
    'http: { listen: "::1" }\n',
    '1:17: http.listen: "::1" is not an address with a port: the port is missing; [::1]:5364 would be one',
  ],
  [
    'two listeners on one port',
    'dns: { listen: ["127.0.0.1:9164"] }\nhttp: { listen: "127.0.0.1:9164" }\n',
    '2:17: http.listen: 127.0.0.1:9164 is taken by dns.listen[0]; expected an address and port of its own',
  ],
  [
    'an upstream that is no address',
    'dns: { upstreams: [dns.example] }\n',
    '1:20: dns.upstreams[0]: "dns.example" is not an address such as 192.0.2.53, 192.0.2.53:53, [2001:db8::53]:53 or tls://192.0.2.53#dns.example',
  ],
  [
    'an upstream by another scheme',
    'dns: { upstreams: ["https://192.0.2.53/dns-query"] }\n',
    '1:20: dns.upstreams[0]: "https://192.0.2.53/dns-query" is not an address such as 192.0.2.53, 192.0.2.53:53, [2001:db8::53]:53 or tls://192.0.2.53#dns.example; of the schemes only tls:// is known',
  ],
  [
    'a server name that is none',
    'dns: { upstreams: ["tls://192.0.2.53#a b"] }\n',
    '1:20: dns.upstreams[0]: "tls://192.0.2.53#a b" is not an address such as 192.0.2.53, 192.0.2.53:53, [2001:db8::53]:53 or tls://192.0.2.53#dns.example; what follows # must be the server\'s host name',
  ],
  [
    'an upstream that is gate64 itself',
    'dns: { upstreams: ["127.0.0.1:5364"] }\n',
    '1:20: dns.upstreams[0]: 127.0.0.1:5364 is gate64 itself (dns.listen[0]); expected another resolver',
  ],
  [
    'a bad IPv4 CIDR',
    'nat64: { deny: [192.0.2.0/33] }\n',
    '1:17: nat64.deny[0]: "192.0.2.0/33" is not an IPv4 network such as 192.0.2.0/24',
  ],
  [
    'a bad IPv6 CIDR',
    'nat64: { allowSources: ["2001:db8::/129"] }\n',
    '1:25: nat64.allowSources[0]: "2001:db8::/129" is not an IPv6 network such as 2001:db8::/32',
  ],
  [
    'a static binding without a port',
    'nat64: { static: [{ protocol: tcp, ipv6: "2001:db8::5", ipv4: "192.0.2.2:80" }] }\n',
    '1:42: nat64.static[0].ipv6: "2001:db8::5" is not an IPv6 address with a port such as [2001:db8::5]:80',
  ],
  [
    'a static binding the wrong way round',
    'nat64: { static: [{ protocol: tcp, ipv6: "[2001:db8::5]:80", ipv4: "[2001:db8::5]:80" }] }\n',
    '1:68: nat64.static[0].ipv4: "[2001:db8::5]:80" is not an IPv4 address with a port such as 192.0.2.2:8080',
  ],
  [
    'a static binding of another protocol',
    'nat64: { static: [{ protocol: sctp, ipv6: "[2001:db8::5]:80", ipv4: "192.0.2.2:80" }] }\n',
    '1:31: nat64.static[0].protocol: "sctp" is not tcp or udp or icmp',
  ],
  [
    'a static binding into the prefix',
    'nat64: { static: [{ protocol: tcp, ipv6: "[64:ff9b::1]:80", ipv4: "192.0.2.2:80" }] }\n',
    "1:42: nat64.static[0].ipv6: 64:ff9b::1 lies in the translation prefix 64:ff9b::/96; expected a pod's own address",
  ],
  [
    'N6146-4-a: U4787-5-a: 119 s for UDP',
    'nat64: { timeouts: { udp: 119 } }\n',
    '1:27: nat64.timeouts.udp: 119 is not a number of seconds from 120 (RFC 4787 REQ-5) to 2678400',
  ],
  [
    'N6146-4-d: T5382-5-a: 7199 s for established TCP',
    'nat64: { timeouts: { tcpEstablished: 7199 } }\n',
    '1:38: nat64.timeouts.tcpEstablished: 7199 is not a number of seconds from 7200 (RFC 5382 REQ-5) to 2678400',
  ],
  [
    'N6146-4-g: C5508-2-a: 59 s for ICMP',
    'nat64: { timeouts: { icmp: 59 } }\n',
    '1:28: nat64.timeouts.icmp: 59 is not a number of seconds from 60 (RFC 5508 REQ-2) to 2678400',
  ],
  [
    'N6146-4-f: 1 s for fragments',
    'nat64: { timeouts: { fragment: 1 } }\n',
    '1:32: nat64.timeouts.fragment: 1 is not a number of seconds from 2 (RFC 6146 4) to 2678400',
  ],
  [
    '5 s for an unasked SYN',
    'nat64: { timeouts: { tcpIncomingSyn: 5 } }\n',
    '1:38: nat64.timeouts.tcpIncomingSyn: 5 is not a number of seconds from 6 (RFC 6146 4) to 2678400',
  ],
  [
    'a device name without room for its peer',
    'nat64: { device: abcdefghijklmno }\n',
    '1:18: nat64.device: "abcdefghijklmno" is not the name of a network interface: at most 14 characters (its peer takes one more), it has 15',
  ],
  [
    'a block size that is neither a number nor auto',
    'nat64: { blockSize: small }\n',
    '1:21: nat64.blockSize: "small" is not a number, or auto',
  ],
  [
    'a device name with a slash',
    'nat64: { device: a/b }\n',
    '1:18: nat64.device: "a/b" is not the name of a network interface: letters, digits, "-", "_" and "."',
  ],
  [
    'too many blocks a pod',
    'nat64: { maxBlocksPerPod: 257 }\n',
    '1:27: nat64.maxBlocksPerPod: 257 is not a whole number from 1 to 256',
  ],
  ['a log level', 'log: { level: loud }\n', '1:15: log.level: "loud" is not trace or debug or info or warn or error'],
];

describe('configuration: problems', () => {
  for (const [title, text, line] of CASES) {
    it(title, () => {
      const error = problemsOf(text);
      expect(error.message).to.equal(`${FILE}:${line}`);
      expect(error.problems).to.have.length(1);
      expect(error.code).to.equal(/not YAML|YAML document/.test(line) ? 'G64_CONFIG_SYNTAX' : 'G64_CONFIG_INVALID');
    });
  }

  it('A6052-2.2-a: refuses every length from 0 to 128 but the six', () => {
    for (let length = 0; length <= 128; length++) {
      if ([32, 40, 48, 56, 64, 96].includes(length)) continue;
      // 2000::/3 has no host bits from /3 on; below, the text itself is refused for its bits.
      const error = problemsOf(`prefix: 2000::/${length}\n`);
      expect(error.message).to.match(length < 3 ? /is not a network/ : /its length must be one of/);
    }
  });

  it('says for both sides that a static binding stands twice', () => {
    const first = '{ protocol: tcp, ipv6: "[2001:db8::5]:80", ipv4: "192.0.2.2:80" }';
    const same4 = '{ protocol: tcp, ipv6: "[2001:db8::6]:80", ipv4: "192.0.2.2:80" }';
    const same6 = '{ protocol: tcp, ipv6: "[2001:db8::5]:80", ipv4: "192.0.2.2:81" }';
    expect(problemsOf(`nat64: { static: [${first}, ${same4}] }`).message).to.match(
      /nat64\.static\[1\]\.ipv4: 192\.0\.2\.2:80 is already bound by nat64\.static\[0\]/,
    );
    expect(problemsOf(`nat64: { static: [${first}, ${same6}] }`).message).to.match(
      /nat64\.static\[1\]\.ipv6: \[2001:db8::5\]:80 is already bound by nat64\.static\[0\]/,
    );
    expect(problemsOf(`nat64: { static: [${first}, ${first}] }`).problems).to.have.length(1);
  });

  it('names all problems of a file at once, in the order of the file, each once', () => {
    const text = [
      'log: { level: loud }',
      'prefix: 2001:db8::/72',
      'nat64:',
      '  pool:',
      '    - { addresses: [192.0.2.1, nonsense], ports: 9-1 }',
      '    - { addresses: 192.0.2.2, ports: [1024-2047, 2000] }',
      '  blockSize: 1.5',
      'dns: { listen: [":53", ":53"], upstream: [] }',
    ].join('\n');
    const error = problemsOf(text);
    expect(error.problems.map(({ line, column }) => `${line}:${column}`)).to.deep.equal([
      '1:15',
      '2:9',
      '5:32',
      '5:50',
      '6:50',
      '7:14',
      '8:17',
      '8:24',
      '8:32',
    ]);
    expect(new Set(error.message.split('\n')).size).to.equal(error.problems.length);
  });

  it('points into what an alias stands for', () => {
    const error = problemsOf('dns: { excludeAaaa: &nets ["2001:db8::1/32"] }\nnat64: { allowSources: *nets }\n');
    expect(error.problems.map(({ line }) => line)).to.include(1);
    expect(error.problems).to.have.length(2);
  });

  it('does not let a file of a few lines unfold into gigabytes', () => {
    const levels = Array.from(
      { length: 12 },
      (_, i) =>
        `k${i}: &a${i} [${Array(9)
          .fill(i === 0 ? 'x' : `*a${i - 1}`)
          .join(', ')}]`,
    );
    expect(problemsOf(levels.join('\n')).code).to.equal('G64_CONFIG_SYNTAX');
  });

  it('cuts long values short', () => {
    expect(problemsOf(`log: { level: "${'x'.repeat(5000)}" }`).message.length).to.be.below(200);
  });

  it('whatever stands in the file, the outcome is a configuration or problems with places', () => {
    const key = oneof(
      constantFrom('prefix', 'dns', 'nat64', 'http', 'log', 'pool', 'static', 'listen', 'timeouts'),
      string(),
    );
    const file = dictionary(key, oneof(jsonValue({ maxDepth: 3 }), dictionary(key, jsonValue({ maxDepth: 3 }))));
    holds(
      property(oneof(file, jsonValue()), (value) => {
        try {
          parseConfig(stringify(value), FILE);
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          expect(error.problems.length).to.be.greaterThan(0);
          for (const problem of error.problems) {
            expect(problem.line).to.be.at.least(1);
            expect(problem.column).to.be.at.least(1);
            expect(problem.message).to.not.match(/undefined|\[object/);
          }
        }
      }),
      { runs: 300 },
    );
  });

  it('any text is YAML or a problem with a place', () => {
    holds(
      property(string({ unit: constantFrom(...'{}[]:,-#&*!|>\'"%@`\n\t ?a1~'.split('')), maxLength: 40 }), (text) => {
        try {
          parseConfig(text, FILE);
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          expect(error.problems.length).to.be.greaterThan(0);
        }
      }),
      { runs: 1000 },
    );
  });
});
