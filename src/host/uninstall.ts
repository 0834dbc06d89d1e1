// SPDX-License-Identifier: Apache-2.0
// Takes everything of gate64 off the node, whatever configuration put it there.

import { formatIp4 } from '../addr/ip.ts';
import { execCommand, run, type Exec } from './exec.ts';
import { deviceConflict, listInterfaces } from './links.ts';
import { removeTable } from './nft.ts';
import { removeQdiscs } from './qdisc.ts';
import { listProxies, removeGuards, sameProxy } from './routes.ts';
import { openStateFile, STATE_FILE, type HostState } from './state.ts';
import { openSysctls, restoreSysctls, sysctlRoot } from './sysctls.ts';

export interface UninstallOptions {
  /** nat64.device; the one of the state file goes, too. */
  readonly device: string;
  readonly stateFile?: string;
  readonly exec?: Exec;
}

/**
 * Removes proxy neighbours, the device (with its routes and programs), guard routes, the nftables table, and restores
 * sysctls. Returns what was done, such as "removed: device gate64"; empty when nothing was. A step that fails does not keep the others from
 * being done; its error is thrown in the end, and the state file then stays for another try.
 */
export async function uninstallHost(options: UninstallOptions): Promise<string[]> {
  const exec = options.exec ?? execCommand;
  const stateFile = openStateFile(options.stateFile ?? STATE_FILE);
  const state = stateFile.read();
  const steps: [verb: string, step: () => Promise<string[]>][] = [
    ['removed', () => removeProxies(exec, state)],
    ['removed', () => removeUplinkQdiscs(exec, state)],
    ['removed', () => removeDevices(exec, [options.device, state.device ?? options.device])],
    ['removed', () => removeGuards(exec)],
    ['removed', async () => ((await removeTable(exec)) ? ['nftables table ip gate64'] : [])],
    ['restored', async () => restoreSysctls(openSysctls(sysctlRoot()), state)],
  ];
  const done: string[] = [];
  const errors: unknown[] = [];
  for (const [verb, step] of steps) {
    try {
      done.push(...(await step()).map((what) => `${verb}: ${what}`));
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  if (stateFile.remove()) done.push('removed: state file');
  return done;
}

async function removeProxies(exec: Exec, state: HostState): Promise<string[]> {
  if (state.proxies.length === 0) return [];
  const ours = (await listProxies(exec)).filter((proxy) => state.proxies.some((entry) => sameProxy(entry, proxy)));
  for (const { v4, device } of ours) await run(exec, 'ip', ['neighbour', 'del', 'proxy', formatIp4(v4), 'dev', device]);
  return ours.map(({ v4, device }) => `proxy neighbour ${formatIp4(v4)} on ${device}`);
}

async function removeUplinkQdiscs(exec: Exec, state: HostState): Promise<string[]> {
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
