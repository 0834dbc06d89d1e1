// SPDX-License-Identifier: Apache-2.0
// gate64 itself, as users run it (dist/gate64), in the node namespace of the topology.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { eventually, type Background, type Finished, type RunOptions } from './processes.ts';
import { SERVER4, type Namespace, type Topology } from './topology.ts';

export const GATE64 = join(import.meta.dirname, '../../dist/gate64');

export type Egress = 'direct' | 'masquerade';

type Tree = { [key: string]: unknown };

/** A configuration for the topology; what is given replaces keys of the same name, one level deep in each section. */
export function gate64Config(egress: Egress, changes: { prefix?: unknown; dns?: Tree; nat64?: Tree } = {}): Tree {
  return {
    prefix: changes.prefix ?? '64:ff9b::/96',
    dns: { listen: ['127.0.0.1:5364', '[::1]:5364'], upstreams: [`${SERVER4}:53`], ...changes.dns },
    nat64: {
      egress,
      // Documentation addresses are no global ones, so the well-known prefix refuses them by itself (RFC 6052 3.1).
      allowNonGlobalIpv4: ['192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24'],
      ...changes.nat64,
    },
  };
}

export class Gate64 {
  readonly #topology: Topology;
  readonly configFile: string;
  process: Background | undefined;

  constructor(topology: Topology, config: Tree) {
    this.#topology = topology;
    this.configFile = join(topology.directory, 'gate64.yaml');
    this.write(config);
  }

  write(config: Tree | string): void {
    writeFileSync(this.configFile, typeof config === 'string' ? config : stringify(config));
  }

  /** `gate64 run`, and waits until /readyz says yes. Throws with its log when it ends before. */
  async start(): Promise<Background> {
    const started = this.launch();
    await this.ready(started);
    return started;
  }

  /** `program`: another copy of gate64 than the checkout's. */
  launch(environment: Readonly<Record<string, string>> = {}, program = GATE64): Background {
    this.process = this.#topology.start('node', [program, 'run', '-c', this.configFile], environment);
    return this.process;
  }

  async ready(started: Background, timeoutMs = 20_000): Promise<void> {
    const isReady = await eventually(
      'gate64 is ready',
      async () => {
        if (started.exitCode() !== undefined) return false;
        return (await this.http('/readyz')).code === 0 ? true : undefined;
      },
      timeoutMs,
    ).catch(() => false);
    if (!isReady) throw new Error(`gate64 does not get ready:\n${started.log()}`);
  }

  async http(path: string): Promise<Finished> {
    const url = `http://127.0.0.1:9164${path}`;
    return this.#topology.run('node', ['curl', '-sS', '--fail', '--max-time', '5', url], { accept: 'any' });
  }

  async metrics(): Promise<string> {
    const { code, stdout, stderr } = await this.http('/metrics');
    if (code !== 0) throw new Error(`/metrics: ${stderr}`);
    return stdout;
  }

  /** A command of gate64 in the node namespace. */
  async cli(args: readonly string[], options?: RunOptions & { namespace?: Namespace }): Promise<Finished> {
    return this.#topology.run(options?.namespace ?? 'node', [GATE64, ...args], options);
  }

  async json<T = unknown>(...args: string[]): Promise<T> {
    return JSON.parse((await this.cli([...args, '-o', 'json'])).stdout) as T;
  }
}

/** Sum of the samples of a metric whose labels all match. */
export function metricSum(text: string, name: string, labels: Readonly<Record<string, string>> = {}): number {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
