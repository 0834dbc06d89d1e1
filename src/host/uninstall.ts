// SPDX-License-Identifier: Apache-2.0
// Takes everything of gate64 off the node, whatever configuration put it there.

import { formatIp4 } from '../addr/ip.ts';
import { execCommand, run, type Exec } from './exec.ts';
import type { HostRecord } from '../model/facts.ts';
import { deviceConflict } from '../plan/device.ts';
import { isGuard } from '../plan/own-routes.ts';
import { has, routeWords } from './changes.ts';
import { listInterfaces } from './links.ts';
import { removeTable } from './nft.ts';
import { removeQdiscs } from './qdisc.ts';
import { listProxies, listRoutes } from './routes.ts';
import { EMPTY_RECORD, STATE_FILE, StateFile } from './state.ts';
import { restoreSysctls, Sysctls } from './sysctls.ts';
import { UninstallError } from './uninstall-error.ts';

export interface UninstallOptions {
  /** nat64.device; the one of the state file goes, too. */
  readonly device: string;
  readonly stateFile?: string;
  readonly exec?: Exec;
}

/**
 * Removes proxy neighbours, the device (with its routes and programs), guard routes, the nftables table, and restores
 * sysctls. Returns what was done, such as "removed: device gate64"; empty when nothing was. A step that fails does not keep the others from
 * being done: an UninstallError says so in the end, and the state file then stays for another try.
 */
export async function uninstallHost(options: UninstallOptions): Promise<string[]> {
  const exec = options.exec ?? execCommand;
  const stateFile = new StateFile(options.stateFile ?? STATE_FILE);
  const done: string[] = [];
  const errors: unknown[] = [];
  let state = EMPTY_RECORD;
  try {
    state = stateFile.read();
  } catch (error) {
    errors.push(error);
  }
  const steps: [verb: string, step: () => Promise<string[]>][] = [
    ['removed', () => removeProxies(exec, state)],
    ['removed', () => removeUplinkQdiscs(exec, state)],
    ['removed', () => removeDevices(exec, [options.device, state.device ?? options.device])],
    ['removed', () => removeGuards(exec)],
    ['restored', async () => restoreSysctls(new Sysctls(), state)],
    // After the sysctls, so that nothing is forwarded for others between.
    ['removed', async () => ((await removeTable(exec)) ? ['nftables table ip gate64'] : [])],
  ];
  for (const [verb, step] of steps) {
    try {
      done.push(...(await step()).map((what) => `${verb}: ${what}`));
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw new UninstallError(done, errors);
  if (stateFile.remove()) done.push('removed: state file');
  return done;
}

async function removeProxies(exec: Exec, state: HostRecord): Promise<string[]> {
  if (state.proxies.length === 0) return [];
  const ours = (await listProxies(exec)).filter((proxy) => has(state.proxies, proxy));
  for (const { v4, device } of ours) await run(exec, 'ip', ['neighbour', 'del', 'proxy', formatIp4(v4), 'dev', device]);
  return ours.map(({ v4, device }) => `proxy neighbour ${formatIp4(v4)} on ${device}`);
}

/** The device's own routes go with the device. */
async function removeGuards(exec: Exec): Promise<string[]> {
  const guards = (await listRoutes(exec, 6, 'main')).filter(isGuard);
  for (const { dst } of guards) {
    await run(exec, 'ip', ['-6', 'route', 'del', ...routeWords({ family: 6, dst, guard: true }, '')]);
  }
  return guards.map((route) => `guard route ${route.dst}`);
}

async function removeUplinkQdiscs(exec: Exec, state: HostRecord): Promise<string[]> {
  if (state.withoutQdisc.length === 0) return [];
  const names = new Set((await listInterfaces(exec)).map(({ name }) => name));
  return removeQdiscs(exec, state.withoutQdisc, (device) => names.has(device));
}

async function removeDevices(exec: Exec, names: readonly string[]): Promise<string[]> {
  const interfaces = await listInterfaces(exec);
  // Something else by that name is left alone.
  const ours = [...new Set(names)].filter(
    (name) => interfaces.some((entry) => entry.name === name) && deviceConflict(interfaces, name) === undefined,
  );
  for (const name of ours) await run(exec, 'ip', ['link', 'del', name]);
  return ours.map((name) => `device ${name}`);
}
