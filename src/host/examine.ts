// SPDX-License-Identifier: Apache-2.0
// The look at the node of a start, without the start: all that may be wrong, and nothing changed.

import type { Config } from '../config/config.ts';
import type { DatapathSite } from '../datapath/datapath.ts';
import { Gate64Error } from '../errors.ts';
import type { Interface, MasqueradeTable, NodeFacts } from '../model/facts.ts';
import type { Finding } from '../plan/findings.ts';
import { findings } from '../plan/plan.ts';
import { drift } from './drift.ts';
import { execCommand } from './exec.ts';
import { flowRoutes, type FlowQuestion, type FlowRoutes } from './flow.ts';
import type { Host } from './host.ts';
import { programsBefore } from './programs-before.ts';

export interface Examination {
  readonly findings: readonly Finding[];
  /** Why the node could not be looked at, so that `findings` are not all; undefined when it was. */
  readonly unseen: string | undefined;
}

/** Throws Gate64Error when the node cannot be looked at although nothing that this takes is missing. */
export async function examine(
  host: Host,
  config: Config,
  site: Pick<DatapathSite, 'facts' | 'otherLayouts' | 'hooks' | 'packetsSeen'>,
): Promise<Examination> {
  const lacks = await host.preflight();
  try {
    const facts = await host.observe({ direct: config.nat64.egress === 'direct', thorough: true });
    // What is not to be read without rights must not look as if it were gone.
    const lost = lacks.length > 0 ? [] : await lostSince(config, facts, site);
    return { findings: [...lacks, ...findings(config, facts), ...lost], unseen: undefined };
  } catch (error) {
    // Without rights or a command the look fails, and what is missing says why.
    if (!(error instanceof Gate64Error) || lacks.length === 0) throw error;
    return { findings: lacks, unseen: error.message };
  }
}

async function lostSince(
  config: Config,
  facts: NodeFacts,
  site: Pick<DatapathSite, 'facts' | 'otherLayouts' | 'hooks' | 'packetsSeen'>,
): Promise<Finding[]> {
  return [
    ...oldLayouts(site.otherLayouts()),
    ...drift(config, facts, site.facts()),
    ...(await programsBefore(execCommand, site, facts.interfaces)),
  ];
}

function oldLayouts(folders: readonly string[]): Finding[] {
  if (folders.length === 0) return [];
  return [
    {
      name: 'old-layout',
      severity: 'warning',
      message: `another version of gate64 made ${folders.join(', ')}: its sessions go on, and this version does not see them`,
      remedy:
        'Start gate64 of this version: it replaces them, and connections by way of these sessions end. To keep them, stay with the version that made them.',
    },
  ];
}

/** What a node shows of one flow: all that `examine` finds, and the way that the flow's packets take. */
export interface FlowExamination extends Examination {
  readonly interfaces: readonly Interface[];
  /** Undefined: there is no table of gate64's. */
  readonly masquerade: MasqueradeTable | undefined;
  readonly forwarding4: boolean;
  readonly routes: FlowRoutes;
}

/** Throws Gate64Error when the node cannot be looked at. Changes nothing. */
export async function examineFlow(host: Host, config: Config, question: FlowQuestion): Promise<FlowExamination> {
  const facts = await host.observe({ direct: config.nat64.egress === 'direct', thorough: true });
  const routes = await flowRoutes(execCommand, question, facts.interfaces);
  const { interfaces, masquerade } = facts;
  const forwarding4 = facts.sysctl(`ipv4/conf/${config.nat64.device}/forwarding`) !== '0';
  return { findings: findings(config, facts), unseen: undefined, interfaces, masquerade, forwarding4, routes };
}
