// SPDX-License-Identifier: Apache-2.0
// Whether the translated packet finds its way out: by the host stack and its masquerading, or to the next hop directly.

import { formatIp4, formatIp4Net, ip4InNet } from '../../addr/ip.ts';
import type { FlowExamination } from '../../host/examine.ts';
import { poolInUse, type Flow } from './facts.ts';
import { ok, problem, RESTART, type Stage } from './stage.ts';

export function egressStage({ facts, destination }: Flow, node: FlowExamination): Stage {
  const { egress, device } = facts.config.nat64;
  const { toDestination: route, neighbour } = node.routes;
  const to = formatIp4(destination.v4);
  if (egress === 'masquerade') {
    const wrong = masqueradeProblem(facts, node);
    if (wrong !== undefined) return problem('egress', wrong, RESTART);
    const full = node.findings.find(({ name }) => name === 'tracking-full');
    if (full !== undefined) return problem('egress', full.message, full.remedy, full.command);
  }
  if (route.device === undefined) {
    const message = `the node has no IPv4 route to ${to}: ${route.refused ?? 'none'}`;
    return problem(
      'egress',
      message,
      'Give the node an IPv4 route there (`ip route`), or trace on the node that has one.',
    );
  }
  if (route.device === device || route.type === 'local') {
    const message = `${to} leads back to the node itself (${route.device})`;
    return problem('egress', message, 'A pool or a route of the node claims this address; `ip route get` shows it.');
  }
  const out = node.interfaces.find(({ name }) => name === route.device);
  if (out?.isUp === false)
    return problem('egress', `the way out, ${out.name}, is down`, undefined, `ip link set ${out.name} up`);
  const hop = route.gateway ?? to;
  if (neighbour === 'FAILED') {
    const message = `the next hop ${hop} on ${route.device} does not answer for its address (neighbour FAILED)`;
    return problem('egress', message, 'Check the link and the gateway: `ip neighbour` and `ping` from the node.');
  }
  const via = `${route.device}${route.gateway === undefined ? '' : ` via ${route.gateway}`}`;
  const state = neighbour === undefined ? '' : ` (${neighbour.toLowerCase()})`;
  return ok('egress', `${egress}: ${to} goes out by ${via}${state}`);
}

function masqueradeProblem(facts: Flow['facts'], { masquerade, forwarding4 }: FlowExamination): string | undefined {
  const { device } = facts.config.nat64;
  const pool = poolInUse(facts);
  if (!forwarding4) return `the node does not forward IPv4 from ${device}`;
  if (masquerade?.nets === undefined) return 'the nftables table that masquerades the pool is missing or changed';
  if (masquerade.device !== device) return `nftables masquerades another device, ${masquerade.device ?? 'none'}`;
  if (pool !== undefined && !masquerade.nets.some((net) => ip4InNet(pool, net))) {
    return `nftables masquerades ${masquerade.nets.map(formatIp4Net).join(', ')}, not ${formatIp4(pool)}`;
  }
  return undefined;
}
