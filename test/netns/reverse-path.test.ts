// SPDX-License-Identifier: Apache-2.0
// Nodes that filter IPv6 by the reverse path, as firewalld does by default: what gate64 sends, its own ICMPv6 errors and
// those of routers that the prefix may not show, comes from where its source is routed, so it passes.

import { expect } from 'chai';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { SERVER4 } from '../helpers/topology.ts';

/** As firewalld writes it (IPv6_rpfilter=strict, loose). */
const FILTERS = {
  strict: 'fib saddr . mark . iif oif missing drop',
  loose: 'fib saddr . mark oif missing drop',
} as const;

for (const egress of EGRESSES) {
  describe(`reverse-path filters, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    const ping = async (options: string) => {
      const argv = ['ping', '-n', '-c', '2', '-i', '0.3', '-W', '2', ...options.split(' '), 'v4only.example'];
      return (await scene.topology.run('pod', argv, { accept: 'any' })).stdout;
    };

    before(async () => {
      // Under the well-known prefix the router, which has a documentation address, is hidden; the server is not.
      scene = await Scene.create({
        egress,
        config: { prefix: '64:ff9b::/96', nat64: { allowNonGlobalIpv4: [`${SERVER4}/32`] } },
      });
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    for (const [mode, rule] of Object.entries(FILTERS)) {
      it(`${mode}: connections, Packet Too Big and Time Exceeded arrive, and none is filtered`, async () => {
        await scene.topology.sh(
          'node',
          `nft add table inet rpfilter
          nft 'add chain inet rpfilter pre { type filter hook prerouting priority raw + 10; }'
          nft 'add rule inet rpfilter pre icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept'
          nft 'add rule inet rpfilter pre meta nfproto ipv6 ${rule.replace('drop', 'counter drop')}'`,
        );
        try {
          const wanted = await scene.serve('one', 1);
          expect(await scene.download('http://v4only.example/one')).to.equal(wanted);
          expect(await ping('-t 1'), 'from the node itself').to.match(/Time exceeded/);
          // By masquerade the program is a hop of its own; the router that follows is hidden.
          for (const hop of egress === 'direct' ? [2] : [2, 3]) {
            expect(await ping(`-t ${hop}`), `hop ${hop}`).to.match(/From (?!64:ff9b::c633:640a)\S+.*Time exceeded/);
          }
          await scene.topology.setServerLinkMtu(1300);
          expect(await ping('-M do -s 1400')).to.match(/mtu[=:] ?1320|[Mm]essage too long/);
          expect(await scene.topology.sh('node', 'nft list chain inet rpfilter pre')).to.match(/counter packets 0 /);
        } finally {
          await scene.topology.setServerLinkMtu(1500);
          await scene.topology.sh('node', 'nft delete table inet rpfilter');
          await scene.topology.sh('pod', 'ip -6 route flush cache');
        }
      });
    }
  });
}
