// SPDX-License-Identifier: Apache-2.0
// The node: looks at it, changes it, takes everything of gate64's away again.

import type { NodeFacts } from '../model/facts.ts';
import type { Finding } from '../plan/findings.ts';
import type { Change } from './changes.ts';
import { execCommand, type Exec } from './exec.ts';
import { listInterfaces } from './links.ts';
import { make, type Tools } from './make.ts';
import { readNft } from './nft.ts';
import { preflight } from './preflight.ts';
import { listClsact } from './qdisc.ts';
import { listProxies, listRoutes, listRules } from './routes.ts';
import { listSockets } from './sockets.ts';
import { STATE_FILE, StateFile } from './state.ts';
import { Sysctls } from './sysctls.ts';
import { uninstallHost } from './uninstall.ts';
import { HostWatch } from './watch.ts';

/** How closely the node is looked at. */
export interface Look {
  /** Whether the way out is a direct one, which needs to know more. */
  readonly direct: boolean;
  /** All tables of routes, rules, and sockets: for what is in the way. Otherwise what is looked at again and again. */
  readonly thorough: boolean;
}

/** A node as the rest of gate64 sees it; tests have another. */
export interface Host {
  /** What this process and this kernel lack, without a look at the node. */
  preflight(): Promise<Finding[]>;
  observe(look: Look): Promise<NodeFacts>;
  /** Throws what failed first; what was made until then stays. */
  make(changes: readonly Change[]): Promise<void>;
  /** Removes all of it and restores sysctls. Says what was done. */
  uninstall(device: string): Promise<string[]>;
  /** Calls `onChange` soon after something on the node changed that may concern gate64. */
  watch(onChange: () => void): { stop(): void };
}

export interface LinuxHostOptions {
  /** Where old values are kept; /run/gate64/host.json when left out. */
  readonly stateFile?: string;
  readonly exec?: Exec;
}

export class LinuxHost implements Host {
  readonly #tools: Tools;
  readonly #stateFile: string;

  constructor(options: LinuxHostOptions = {}) {
    this.#stateFile = options.stateFile ?? STATE_FILE;
    this.#tools = {
      exec: options.exec ?? execCommand,
      sysctls: new Sysctls(),
      state: new StateFile(this.#stateFile),
    };
  }

  preflight(): Promise<Finding[]> {
    return preflight(this.#tools.exec);
  }

  async observe({ direct, thorough }: Look): Promise<NodeFacts> {
    const { exec, sysctls, state } = this.#tools;
    const record = state.read();
    const tables = thorough ? 'all' : 'main';
    const mayProxy = direct || record.proxies.length > 0;
    const [interfaces, routes4, local4, routes6, rules4, rules6, nft, sockets, proxies, withQdisc] = await Promise.all([
      listInterfaces(exec),
      listRoutes(exec, 4, tables),
      thorough ? [] : listRoutes(exec, 4, 'local'),
      listRoutes(exec, 6, tables),
      thorough ? listRules(exec, 4) : [],
      thorough ? listRules(exec, 6) : [],
      readNft(exec, { direct, thorough }),
      direct && thorough ? listSockets(exec) : [],
      mayProxy ? listProxies(exec) : [],
      direct ? listClsact(exec) : undefined,
    ]);
    return {
      interfaces,
      routes4: [...routes4, ...local4],
      routes6,
      rules4,
      rules6,
      ...nft,
      sockets,
      proxies,
      withQdisc,
      record,
      sysctl: (name) => sysctls.read(name),
    };
  }

  make(changes: readonly Change[]): Promise<void> {
    return make(this.#tools, changes);
  }

  watch(onChange: () => void): HostWatch {
    return new HostWatch(onChange);
  }

  uninstall(device: string): Promise<string[]> {
    return uninstallHost({ device, stateFile: this.#stateFile, exec: this.#tools.exec });
  }
}
