// SPDX-License-Identifier: Apache-2.0
// resolver.arpa, by which clients look for encrypted resolvers (RFC 9462): answered here and never asked for upstream, whose
// designated resolver would take the clients away from DNS64.

import type { Answer } from './answer.ts';
import { localAnswer, localSoa, zoneAt } from './local.ts';
import type { Query } from './query.ts';
import { nameBytes } from './wire.ts';

const RESOLVER_NAME = nameBytes('resolver.arpa');
/** Short, as for a name that may be answered one day. */
const NEGATIVE_TTL_SECONDS = 60;

/**
 * NODATA for resolver.arpa and every name below (RFC 9462 §6.4), none of which a forwarder should pass on (§6.1);
 * undefined for other questions.
 */
export function answerResolverArpa(query: Query): Answer | undefined {
  const zone = zoneAt(query, RESOLVER_NAME);
  if (zone < 0) return undefined;
  return localAnswer(query, [localSoa(zone, NEGATIVE_TTL_SECONDS)], { isAuthoritative: true });
}
