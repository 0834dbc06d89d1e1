// SPDX-License-Identifier: Apache-2.0
// How gate64's own routes are known again.

import type { Route } from '../model/facts.ts';

/** rtm_protocol of everything gate64 adds. */
export const ROUTE_PROTOCOL = '64';

/** The worst metric there is: a guard that decides only when the device's route is gone. */
export const GUARD_METRIC = 4294967295;

export function isGuard(route: Route): boolean {
  return route.protocol === ROUTE_PROTOCOL && route.type === 'unreachable' && route.metric === GUARD_METRIC;
}

export function leadsTo(route: Route, device: string): boolean {
  return route.type === 'unicast' && route.devices.includes(device);
}
