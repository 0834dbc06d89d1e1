// SPDX-License-Identifier: Apache-2.0
// What is read out of each format: files as people have them, with documentation addresses.

import { expect } from 'chai';
import { recognise } from '../../../src/import/recognise.ts';
import { imported } from './helper.ts';

const COREFILE = `# kubeadm's, with dns64
.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    dns64 {
        prefix 2001:DB8:64::/96
        translate_all
        allow_ipv4
    }
    forward . tls://192.0.2.53 tls://[2001:db8::53]:8853 dns://198.51.100.53:5353 /etc/resolv.conf {
        tls_servername "dns.example"
        except internal.example
        policy random
    }
    import custom/*.conf
}
corp.example:53 {
    forward . 192.0.2.99
}
`;

const JOOL = `{
  "comment": "documentation's sample",
  "instance": "default",
  "framework": "netfilter",
  "global": {
    "pool6": "2001:db8:64::/96",
    "udp-timeout": "0:05:30.500",
    "tcp-est-timeout": "10:00:00",
    "tcp-trans-timeout": "5:00",
    "icmp-timeout": 90,
    "lowest-ipv6-mtu": 1400,
    "address-dependent-filtering": false,
    "drop-icmpv6-info": true,
    "mtu-plateaus": [65535, 1280]
  },
  "pool4": [
    { "protocol": "TCP", "prefix": "192.0.2.2/31", "port range": "40000-50000" },
    { "protocol": "UDP", "prefix": "192.0.2.2/31", "port range": "40000-50000" },
    { "mark": 1, "protocol": "UDP", "prefix": "198.51.100.1" },
    { "protocol": "ICMP", "prefix": "198.51.100.7", "port range": "0-65535" }
  ],
  "bib": [
    { "protocol": "TCP", "ipv6 address": "2001:db8::1#80", "ipv4 address": "192.0.2.2#40080" },
    { "protocol": "UDP", "ipv6 address": "2001:db8::2", "ipv4 address": "192.0.2.2#40081" }
  ]
}
`;

const TAYGA = `# /etc/tayga.conf
tun-device nat64
ipv4-addr 192.168.255.1
prefix 2001:db8:64::/96   # ours
dynamic-pool 192.168.255.0/24
map 192.168.255.7 2001:db8::7
wkpf-strict no
data-dir /var/spool/tayga
`;

const UNBOUND = `server:
    interface: ::0
    module-config: "dns64 validator iterator"
    dns64-prefix: 2001:db8:64::/96 # ours
    dns64-synthall: yes
    dns64-ignore-aaaa: "broken.example"
    access-control: 2001:db8::/32 allow
    access-control: 203.0.113.0/24 refuse
    tls-cert-bundle: "/etc/ssl/certs/ca-certificates.crt"
    include: "/etc/unbound/more.conf"
forward-zone:
    name: "."
    forward-tls-upstream: yes
    forward-addr: 192.0.2.53@853#dns.example
    forward-addr: 2001:db8::53@853#dns.example
    forward-host: dns.example
stub-zone:
    name: "corp.example"
    stub-addr: 192.0.2.99
`;

const BIND = `// named.conf.options
acl clients { 2001:db8::/32; };
/* a comment
   of two lines */
options {
  directory "/var/cache/bind"; # files in /etc/bind/*.conf
  dns64 2001:db8:64::/96 {
    clients { any; };
    mapped { !10/8; !192.168.0.0/16; any; };
    exclude { 64:ff9b::/96; 2001:db8:bad::1; };
    suffix ::;
    break-dnssec yes;
    recursive-only yes;
  };
  forwarders port 5353 { 192.0.2.53; 2001:db8::53; 198.51.100.53 port 53; };
  allow-query { 2001:db8::/32; localhost; };
  allow-recursion { clients; };
  dnssec-validation auto;
};
include "/etc/bind/named.conf.local";
zone "corp.example" { type primary; file "corp"; };
zone "." { type hint; file "root"; };
`;

describe('a Corefile', () => {
  it('gives prefix, upstreams with the name of their certificate, translate_all', () => {
    expect(imported('corefile', COREFILE).tree).to.deep.equal({
      prefix: '2001:db8:64::/96',
      dns: {
        translateAll: true,
        upstreams: ['tls://192.0.2.53#dns.example', 'tls://[2001:db8::53]:8853#dns.example', '198.51.100.53:5353'],
      },
    });
  });

  it('says what it does not give, by line', () => {
    const { lost, asides } = imported('corefile', COREFILE);
    expect(lost.map((note) => note.replace(/": .*/, ''))).to.deep.equal([
      'corefile:15: "except internal.example',
      'corefile:18: "import custom/*.conf',
    ]);
    expect(asides.join('\n')).to.include('corefile:4: "kubernetes').and.include('corefile:21: "forward . 192.0.2.99"');
  });

  it('with a bare dns64 means the well-known prefix', () => {
    expect(imported('corefile', '. {\n  dns64\n}\n').tree).to.deep.equal({ prefix: '64:ff9b::/96' });
  });

  it('with dns64 on a prefix that is none is refused by line, and the rest stands', () => {
    const { tree, lost } = imported('corefile', '. {\n  dns64 2001:db8::/72\n  forward . 192.0.2.53\n}\n');
    expect(tree).to.deep.equal({ dns: { upstreams: ['192.0.2.53'] } });
    expect(lost).to.have.length(1);
    expect(lost[0]).to.match(/^corefile:2: "prefix: "2001:db8::\/72"": .* is not a translation prefix/);
  });

  it('that is cut off is said to be', () => {
    expect(imported('corefile', '. {\n  dns64 {\n').lost.join()).to.include('a block is still open');
    expect(imported('corefile', '}\n').lost.join()).to.include('no block is open');
  });
});

describe("Jool's JSON", () => {
  it('gives prefix, timers, filtering, pool, bindings', () => {
    expect(imported('jool', JOOL).tree).to.deep.equal({
      prefix: '2001:db8:64::/96',
      nat64: {
        egress: 'direct',
        timeouts: { udp: 330, tcpEstablished: 36_000, tcpTransitory: 300, tcpClosing: 300, icmp: 90 },
        lowestIpv6Mtu: 1400,
        filtering: 'endpointIndependent',
        pool: [
          { addresses: ['192.0.2.2/31'], ports: ['40000-50000'] },
          { addresses: ['198.51.100.1'], ports: ['61001-65535'] },
        ],
        static: [{ protocol: 'tcp', ipv6: '[2001:db8::1]:80', ipv4: '192.0.2.2:40080' }],
      },
    });
  });

  it('says what it does not give, by line', () => {
    expect(imported('jool', JOOL).lost.map((note) => note.slice(0, 22))).to.deep.equal([
      'jool:13: "drop-icmpv6-',
      'jool:19: "mark: 1": ga',
      'jool:19: "198.51.100.1',
      'jool:20: "198.51.100.7',
      'jool:24: "nat64.static',
    ]);
  });

  it('without pool4 goes out with the address of the uplink', () => {
    const { tree } = imported(
      'jool',
      '{"instance": "a", "framework": "netfilter", "global": {"pool6": "64:ff9b::/96"}}',
    );
    expect(tree).to.deep.equal({ prefix: '64:ff9b::/96', nat64: { egress: 'direct' } });
  });

  it('of a disabled instance gives a disabled NAT64, and of a SIIT nothing', () => {
    expect(imported('jool', '{"global": {"manually-enabled": false}}').tree).to.have.nested.property(
      'nat64.enabled',
      false,
    );
    expect(imported('jool', '{"eamt": []}').lost.join()).to.include('this is SIIT');
  });

  it('that is broken is told by line', () => {
    expect(imported('jool', '{\n "global": {\n  "pool6": oops\n }\n}').lost).to.deep.equal([
      'jool:3: "the file": this is not JSON; instead: mend it; `jool file check` says more',
    ]);
    expect(imported('jool', '['.repeat(100_000)).lost.join()).to.include('nests deeper than 16');
  });

  it('reads names that objects have of their own as names', () => {
    const { tree, lost } = imported('jool', '{"__proto__": {"pool6": "2001:db8::/96"}, "constructor": 1}');
    expect(tree).to.deep.equal({ nat64: { egress: 'direct' } });
    expect(lost).to.have.length(2);
  });
});

describe('tayga.conf', () => {
  it('gives prefix and pool', () => {
    expect(imported('tayga', TAYGA).tree).to.deep.equal({
      prefix: '2001:db8:64::/96',
      nat64: { pool: [{ addresses: ['192.168.255.0/24'] }] },
    });
  });

  it('says that maps of whole addresses and a lax well-known prefix are lost', () => {
    expect(imported('tayga', TAYGA).lost.map((note) => note.replace(/": .*/, ''))).to.deep.equal([
      'tayga:6: "map 192.168.255.7 2001:db8::7',
      'tayga:7: "wkpf-strict no',
    ]);
  });
});

describe('unbound.conf', () => {
  it('gives prefix, synthall, clients, upstreams of the forward-zone for "."', () => {
    expect(imported('unbound', UNBOUND).tree).to.deep.equal({
      prefix: '2001:db8:64::/96',
      dns: {
        translateAll: true,
        allowClients: ['2001:db8::/32'],
        tls: { ca: '/etc/ssl/certs/ca-certificates.crt' },
        upstreams: ['tls://192.0.2.53:853#dns.example', 'tls://[2001:db8::53]:853#dns.example'],
      },
    });
  });

  it('says what it does not give, by line', () => {
    expect(imported('unbound', UNBOUND).lost.map((note) => note.replace(/": .*/, ''))).to.deep.equal([
      'unbound:3: "module-config: dns64 validator iterator',
      'unbound:6: "dns64-ignore-aaaa: broken.example',
      'unbound:8: "access-control: 203.0.113.0/24 refuse',
      'unbound:10: "include: /etc/unbound/more.conf',
      'unbound:16: "forward-host: dns.example',
      'unbound:17: "stub-zone:',
    ]);
  });

  it('that resolves by itself has no upstreams to give, which matters', () => {
    expect(imported('unbound', 'server:\n  dns64-prefix: 64:ff9b::/96\n').lost.join()).to.include('no forward-zone');
  });
});

describe('named.conf', () => {
  it('gives prefix, exclude beside its default, mapped as deny, forwarders, clients', () => {
    expect(imported('bind', BIND).tree).to.deep.equal({
      prefix: '2001:db8:64::/96',
      dns: {
        excludeAaaa: ['::ffff:0:0/96', '64:ff9b::/96', '2001:db8:bad::1/128'],
        upstreams: ['192.0.2.53:5353', '[2001:db8::53]:5353', '198.51.100.53:53'],
        allowClients: ['2001:db8::/32', 'local'],
      },
      nat64: { deny: ['10.0.0.0/8', '192.168.0.0/16'] },
    });
  });

  it('says what it does not give, by line', () => {
    expect(imported('bind', BIND).lost.map((note) => note.replace(/": .*/, ''))).to.deep.equal([
      'bind:17: "allow-recursion { clients }',
      'bind:18: "dnssec-validation auto',
      'bind:20: "include /etc/bind/named.conf.local',
      'bind:21: "zone corp.example',
    ]);
  });

  it('with lists that gate64 cannot express loses them, not the prefix', () => {
    const text = `options {
      dns64 64:ff9b::/96 { clients { 2001:db8::/32; }; mapped { 192.0.2.0/24; }; exclude { !::1; any; }; suffix ::1; };
      forwarders { 192.0.2.53 tls dot; };
    };`;
    const { tree, lost } = imported('bind', text);
    expect(tree).to.deep.equal({ prefix: '64:ff9b::/96', dns: { upstreams: ['tls://192.0.2.53'] } });
    expect(lost.map((note) => /"(\w+)/.exec(note)?.[1])).to.deep.equal([
      'clients',
      'mapped',
      'exclude',
      'suffix',
      '192',
    ]);
  });

  it('with exclude { any; } means that all names are synthesized', () => {
    const { tree } = imported('bind', 'options { dns64 64:ff9b::/96 { exclude { any; }; }; };');
    expect(tree).to.deep.equal({ prefix: '64:ff9b::/96', dns: { translateAll: true } });
  });
});

describe('recognise', () => {
  it('sees each kind by its content', () => {
    const kinds = [COREFILE, JOOL, TAYGA, UNBOUND, BIND].map(recognise);
    expect(kinds).to.deep.equal(['corefile', 'jool', 'tayga', 'unbound', 'bind']);
    expect(recognise('include "/etc/bind/named.conf.options";\n')).to.equal('bind');
    expect(recognise('options\n{\n};\n')).to.equal('bind');
  });

  it('says nothing of what it does not know', () => {
    expect(['', '\n\n', 'hello world\n', '<xml/>', '\0\0\0'].map(recognise)).to.deep.equal(Array(5).fill(undefined));
  });
});
