// SPDX-License-Identifier: Apache-2.0
// What most end-to-end tests start from: the topology with nginx, DNS and echo behind it, gate64 on the node, CoreDNS
// between pod and gate64.

import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { openMaps } from '../../src/datapath/ebpf-reader.ts';
import { Pins } from '../../src/datapath/pins.ts';
import { Gate64, gate64Config, type Egress } from './gate64.ts';
import { settledDisagreements } from './map-checker.ts';
import { startCoreDns, type RunningPart } from './parts.ts';
import { makeFile, sha256 } from './payload.ts';
import { startDnsServer, startNginx, startUdpEcho } from './server-parts.ts';
import { NODE6, POD, Topology } from './topology.ts';

export const EGRESSES = ['masquerade', 'direct'] as const satisfies readonly Egress[];

/** The name that the cluster itself answers, and what it answers. */
export const CLUSTER_NAME = 'api.cluster.local';
export const CLUSTER_ADDRESS = POD;

/** CoreDNS as people run it: the cluster's own names, and everything else to gate64. */
export function corefile(options: { cache?: boolean } = {}): string {
  return `.:53 {
  bind ${NODE6}
  errors
  health 127.0.0.1:8080
  hosts {
    ${CLUSTER_ADDRESS} ${CLUSTER_NAME}
    fallthrough
  }
  forward . 127.0.0.1:5364
  ${options.cache === false ? '' : 'cache 30'}
  loop
}
`;
}

export interface SceneOptions {
  readonly egress: Egress;
  readonly config?: Parameters<typeof gate64Config>[1];
  /** One that is there already; the scene takes it over. */
  readonly topology?: Topology;
}

export class Scene implements AsyncDisposable {
  readonly topology: Topology;
  readonly gate64: Gate64;
  /** Folder that nginx serves. */
  readonly www: string;
  coreDns: RunningPart | undefined;

  private constructor(topology: Topology, options: SceneOptions) {
    this.topology = topology;
    this.www = join(topology.directory, 'www');
    this.gate64 = new Gate64(topology, gate64Config(options.egress, options.config));
  }

  static async create(options: SceneOptions): Promise<Scene> {
    const scene = new Scene(options.topology ?? (await Topology.create()), options);
    try {
      chmodSync(scene.topology.directory, 0o755);
      makeFile(scene.www, 'one', 1);
      await startNginx(scene.topology, scene.www);
      await startDnsServer(scene.topology);
      await startUdpEcho(scene.topology);
      await scene.gate64.start();
      scene.coreDns = await startCoreDns(corefile(), { netns: scene.topology.netns('node') });
    } catch (error) {
      await scene[Symbol.asyncDispose]();
      throw error;
    }
    return scene;
  }

  /** Makes a file for nginx to serve; gives its checksum. */
  async serve(name: string, mib: number): Promise<string> {
    return sha256(makeFile(this.www, name, mib));
  }

  /** Downloads in the pod and gives the checksum of what came. */
  async download(url: string, curlOptions: readonly string[] = [], timeoutMs = 60_000): Promise<string> {
    const script = 'curl -sS --fail "$@" | sha256sum | cut -d" " -f1';
    const argv = ['bash', '-euo', 'pipefail', '-c', script, 'download', '--max-time', '50', ...curlOptions, url];
    return (await this.topology.run('pod', argv, { timeoutMs })).stdout.trim();
  }

  /**
   * Ends everything; pins are taken away as well, so that the next scene starts from nothing. Throws when the maps that the
   * tests left do not agree with each other.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.coreDns?.stop();
    const found = await disagreementsOf(new Pins());
    this.gate64.process?.signal('SIGKILL');
    await this.gate64.process?.ended;
    await this.gate64.cli(['uninstall', '-c', this.gate64.configFile], { accept: 'any' });
    await this.topology.dispose();
    if (found.length > 0) throw new Error(`maps disagree:\n${found.join('\n')}`);
  }
}

/** Nothing where no maps are. What is still in motion is left out. */
async function disagreementsOf(pins: Pins): Promise<string[]> {
  if (!pins.haveMaps) return [];
  const maps = openMaps(pins);
  try {
    return await settledDisagreements(maps, { staticsChanged: true });
  } finally {
    for (const map of Object.values(maps)) map.close();
  }
}
