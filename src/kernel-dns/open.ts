// SPDX-License-Identifier: Apache-2.0
// Whether the kernel can give DNS answers here. Native code is loaded where it can be of use.

import type { KernelAnswers } from './kernel-answers.ts';
import { mayLoadPrograms } from './rights.ts';

/** What answers, or why nothing does. */
export type KernelDns = { readonly answers: KernelAnswers } | { readonly off: string };

export async function openKernelDns(dns: { kernelCache: boolean; listener: string }): Promise<KernelDns> {
  if (!dns.kernelCache) return { off: 'dns.kernelCache is false' };
  if (dns.listener === 'dgram') return { off: 'dns.listener is dgram' };
  if (!mayLoadPrograms()) return { off: 'it takes CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON' };
  try {
    const { KernelAnswers } = await import('./kernel-answers.ts');
    return { answers: KernelAnswers.open() };
  } catch (error) {
    return { off: (error as Error).message };
  }
}
