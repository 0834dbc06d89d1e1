// SPDX-License-Identifier: Apache-2.0
// Asks the running service for /status and /readyz.

import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import type { ServiceStatus } from '../telemetry/status.ts';

const TIMEOUT_MS = 2000;
const ANY_ADDRESSES: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** /readyz in words: what it says, a line each. */
export interface ReadinessAnswer {
  readonly ready: boolean;
  readonly says: readonly string[];
}

/** Undefined when nobody listens there; G64_SERVICE_DOWN when what listens gives no status. */
export async function fetchStatus(listen: Endpoint): Promise<ServiceStatus | undefined> {
  const answer = await get(listen, '/status');
  if (answer === undefined) return undefined;
  const { at, response } = answer;
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok || !isStatus(body)) throw notAnswering(at, `it answered ${response.status} without a status`);
  return body;
}

/** Undefined when nobody listens there; G64_SERVICE_DOWN when what listens is not gate64 or does not answer. */
export async function fetchReadiness(listen: Endpoint): Promise<ReadinessAnswer | undefined> {
  const answer = await get(listen, '/readyz');
  if (answer === undefined) return undefined;
  const { at, response } = answer;
  const says = (await response.text().catch(() => '')).trim().split('\n');
  if (![200, 503].includes(response.status) || !says.some((line) => line.startsWith('dns: '))) {
    throw notAnswering(at, `it answered ${response.status} as gate64 does not`);
  }
  return { ready: response.ok, says };
}

async function get(listen: Endpoint, path: string): Promise<{ at: string; response: Response } | undefined> {
  const at = formatEndpoint({ ...listen, host: ANY_ADDRESSES[listen.host] ?? listen.host });
  try {
    return { at, response: await fetch(`http://${at}${path}`, { signal: AbortSignal.timeout(TIMEOUT_MS) }) };
  } catch (cause) {
    if (isRefused(cause)) return undefined;
    throw notAnswering(at, whyNot(cause), cause);
  }
}

function whyNot(cause: unknown): string {
  if (cause instanceof Error && cause.name === 'TimeoutError') {
    return `no answer within ${TIMEOUT_MS / 1000} s; it may be starting`;
  }
  return cause instanceof Error ? cause.message : String(cause);
}

function isRefused(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED';
}

function isStatus(body: unknown): body is ServiceStatus {
  return typeof body === 'object' && body !== null && 'version' in body && 'dns' in body && 'nat64' in body;
}

function notAnswering(at: string, why: string, cause?: unknown): Gate64Error {
  return new Gate64Error('G64_SERVICE_DOWN', `${at} gives no status: ${why}`, {
    cause,
    hint: 'does http.listen of the configuration (-c FILE) name the running service?',
  });
}
