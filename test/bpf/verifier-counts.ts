// SPDX-License-Identifier: Apache-2.0
// How many instructions the kernel's verifier walks for each program, for a small and for the largest configuration. Run
// as root in the sandbox it writes docs/verifier.md; verifier.test.ts holds later programs against that page.

import { writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { kernelVersion } from '../../src/libbpf/mod.ts';
import { withPlane, type PlaneOptions } from './plane.ts';

export const PAGE = new URL('../../docs/verifier.md', import.meta.url).pathname;
/** Beyond it the kernel refuses a program. */
export const LIMIT = 1_000_000;

const CONFIGURATIONS: Readonly<Record<string, PlaneOptions>> = {
  'one prefix, masquerade': {},
  'eight prefixes of all lengths, direct': {
    uplinkMtu: 1500,
    prefixes: [
      '2001:db8::/32',
      '2001:db9:100::/40',
      '2001:dba:122::/48',
      '2001:dbb:122:300::/56',
      '2001:dbc:122:344::/64',
      '2001:dbd:122:344::/96',
      '64:ff9b::/96',
      '64:ff9b:1:fffe::/96',
    ],
    config: { restrictSources: true, maxBlocksPerPod: 16, slots: 1, accelerate: true },
  },
};

export interface Count {
  configuration: string;
  program: string;
  instructions: number;
}

export function verifierCounts(): Count[] {
  return Object.entries(CONFIGURATIONS).flatMap(([configuration, options]) =>
    withPlane(options, (plane) =>
      plane.datapath.info().programs.map(({ name, instructions }) => ({ configuration, program: name, instructions })),
    ),
  );
}

export const kernelSeries = (text = release()): string => kernelVersion(text).join('.');

function page(counts: readonly Count[]): string {
  const rows = counts.map((one) => `| ${one.configuration} | ${one.program} | ${one.instructions} |`);
  return [
    '# What the verifier walks',
    '',
    'Instructions that the kernel’s verifier walked for each program of `bpf/nat64.bpf.c`; it refuses a program at 1000000.',
    'Made by `test/helpers/sandbox.sh .tools/bin/node test/bpf/verifier-counts.ts` (root). A test fails when a program needs',
    'over a fifth more than here on the same kernel series, or half of the limit on any.',
    '',
    `Kernel ${kernelSeries()}.`,
    '',
    '| configuration | program | instructions |',
    '| --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

if (import.meta.main) writeFileSync(PAGE, page(verifierCounts()));
