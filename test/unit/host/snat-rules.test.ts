// SPDX-License-Identifier: Apache-2.0
// parseSnatRules(): rules that give another source, as nft lists them, iptables-nft's too.

import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import { listSnatRules, parseSnatRules } from '../../../src/host/snat-rules.ts';

/** As nft 1.0.6 prints what kube-proxy, docker and hands have made by iptables-nft; the last as one without xtables does. */
const IPTABLES = `table ip nat {
	chain KUBE-POSTROUTING {
		meta mark & 0x00004000 != 0x00004000 counter packets 0 bytes 0 return
		counter packets 0 bytes 0 meta mark set mark xor 0x4000
		 counter packets 0 bytes 0 masquerade fully-random
	}

	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		 counter packets 0 bytes 0 jump KUBE-POSTROUTING
		oifname != "docker0" ip saddr 172.17.0.0/16 counter packets 0 bytes 0 masquerade
		oifname "up0" meta l4proto tcp counter packets 0 bytes 0 masquerade to :1024-60999
		oifname "up0" meta l4proto tcp counter packets 0 bytes 0 snat to 192.0.2.1:1024-61000 random
		oifname "up1" counter packets 0 bytes 0 xt target "MASQUERADE"
	}
}
`;
const NATIVE = `table inet t {
	chain c {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "up0" masquerade fully-random comment "a masquerade to :1-2"
		ct state new accept comment "no masquerade here"
		meta l4proto { tcp, udp } masquerade to :1024-60999 random,persistent
		snat ip to 192.0.2.1-192.0.2.9
		oifname { "a", "b" } masquerade
		oif "lo" snat ip to ip saddr map { 10.0.0.1 : 192.0.2.7 }
		snat ip6 to 2001:db8::1
		snat ip to 192.0.2.7:443
	}
}
`;
const texts = (text: string, family: string, table: string) =>
  parseSnatRules(text, family, table).map(({ chain, device, to, ports, isRandom }) =>
    [
      chain,
      device ?? 'any',
      to === undefined ? '' : to === parseIp4('192.0.2.1') ? '.1' : '.7',
      ports?.join('-') ?? '',
      isRandom ? 'random' : '',
    ].join(' '),
  );

describe('host/snat-rules', () => {
  it('are read as iptables-nft makes them', () => {
    expect(texts(IPTABLES, 'ip', 'nat')).to.deep.equal([
      'KUBE-POSTROUTING any   random',
      'POSTROUTING any   ',
      'POSTROUTING up0  1024-60999 ',
      'POSTROUTING up0 .1 1024-61000 random',
      'POSTROUTING up1   ',
    ]);
  });

  it('and as nft does; comments and IPv6 are none', () => {
    expect(texts(NATIVE, 'inet', 't')).to.deep.equal([
      'c up0   random',
      'c any  1024-60999 random',
      'c any   ',
      'c any   ',
      'c lo   ',
      'c any .7 443-443 ',
    ]);
  });

  it('tables that translate nothing as it leaves are not asked for, nor those of IPv6', async () => {
    const asked: string[] = [];
    const chain = (family: string, table: string, hook: string) => ({ family, table, hook, type: 'nat' });
    const chains = [
      chain('ip', 'nat', 'postrouting'),
      chain('ip', 'nat', 'output'),
      chain('ip6', 'nat', 'postrouting'),
      chain('inet', 'gone', 'postrouting'),
      chain('ip', 'in', 'prerouting'),
      { family: 'ip', table: 'filter', hook: 'postrouting', type: 'filter' },
    ];
    const found = await listSnatRules((_command, args) => {
      asked.push(args.join(' '));
      const isThere = args.includes('nat');
      return Promise.resolve({ exit: isThere ? 0 : 1, stdout: isThere ? IPTABLES : '', stderr: '' });
    }, chains);
    expect(asked).to.deep.equal(['list table ip nat', 'list table inet gone']);
    expect(found).to.have.length(5);
  });
});
