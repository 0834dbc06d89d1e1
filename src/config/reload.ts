// SPDX-License-Identifier: Apache-2.0
// What a reload cannot change: settings that name or size what is made at start.

import { Gate64Error } from '../errors.ts';
import type { Config } from './config.ts';

/** Throws G64_CONFIG_INVALID naming every such setting that differs. */
export function refuseUnreloadable(before: Config, after: Config): void {
  const fixed = {
    'nat64.enabled': [before.nat64.enabled, after.nat64.enabled],
    'nat64.device': [before.nat64.device, after.nat64.device],
    'nat64.maxSessions': [before.nat64.maxSessions, after.nat64.maxSessions],
    'dns.listener': [before.dns.listener, after.dns.listener],
    'dns.workers': [before.dns.workers, after.dns.workers],
    'dns.kernelCache': [before.dns.kernelCache, after.dns.kernelCache],
    'dns.enabled': [before.dns.enabled, after.dns.enabled],
  };
  const changed = Object.entries(fixed)
    .filter(([, [old, now]]) => old !== now)
    .map(([key, [old, now]]) => `${key} (from ${String(old)} to ${String(now)})`);
  if (changed.length === 0) return;
  throw new Gate64Error('G64_CONFIG_INVALID', `cannot be changed while the service runs: ${changed.join(', ')}`, {
    hint: 'restart the service; running sessions stay, but for a change of nat64.maxSessions',
  });
}
