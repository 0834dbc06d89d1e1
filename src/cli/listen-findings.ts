// SPDX-License-Identifier: Apache-2.0
// Whether the service could listen where its configuration says: tried, and closed again at once.

import type { Config } from '../config/config.ts';
import { tryListeners } from '../dns/listeners.ts';
import { Gate64Error } from '../errors.ts';
import type { Finding } from '../plan/findings.ts';

/** For while no service runs. */
export async function listenFindings({ dns }: Pick<Config, 'dns'>): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const endpoint of dns.enabled ? dns.listen : []) {
    try {
      await tryListeners(endpoint, 'dgram');
    } catch (error) {
      if (!(error instanceof Gate64Error)) throw error;
      found.push({ name: 'address-in-use', severity: 'error', message: error.message, remedy: error.hint });
    }
  }
  return found;
}
