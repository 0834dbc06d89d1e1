// SPDX-License-Identifier: Apache-2.0
// Pods that open short connections and ask names until they are stopped (load.ts), and what they counted together.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseIp6 } from '../../src/addr/ip.ts';
import type { Cluster } from './cluster.ts';
import type { Counts } from './load.ts';

const NAME = 'load';
const TARGET = '2001:db8:64::203.0.113.1';
const PORT = '8000';
const ZONE = 'many.example';

export interface Load {
  readonly pods: number;
  /** A second, of all pods together. */
  readonly connections: number;
  readonly names: number;
  /** The address that every name has to have. */
  readonly expected: string;
}

export class LoadPods {
  readonly #cluster: Cluster;
  readonly #marks: string[] = [];
  readonly #started = performance.now();
  seconds = 0;

  private constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Gives when all of them run. */
  static async start(cluster: Cluster, { pods, connections, names, expected }: Load): Promise<LoadPods> {
    const each = (rate: number) => String(rate / pods);
    const labels = { app: NAME };
    const rdata = Buffer.from(parseIp6(expected)).toString('hex');
    await cluster.apply(
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: NAME },
        data: { 'load.ts': readFileSync(join(import.meta.dirname, 'load.ts'), 'utf8') },
      },
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: NAME },
        spec: {
          replicas: pods,
          selector: { matchLabels: labels },
          template: {
            metadata: { labels },
            spec: {
              terminationGracePeriodSeconds: 0,
              containers: [
                {
                  name: NAME,
                  // For its Node.
                  image: 'gate64:0.1.0',
                  imagePullPolicy: 'Never',
                  command: ['node', '/load/load.ts', TARGET, PORT, each(connections), each(names), ZONE, rdata],
                  volumeMounts: [{ name: NAME, mountPath: '/load' }],
                },
              ],
              volumes: [{ name: NAME, configMap: { name: NAME } }],
            },
          },
        },
      },
    );
    await cluster.rolledOut('default', `deployment/${NAME}`);
    return new LoadPods(cluster);
  }

  /** Notes when something is done to what is under load, to be read beside failures. */
  mark(what: string): void {
    this.#marks.push(`${new Date().toISOString()}: ${what}`);
  }

  /** Ends the load; gives what all pods counted. */
  async stop(): Promise<Counts> {
    // What was begun may take five seconds to fail.
    await new Promise((resolve) => setTimeout(resolve, 6000));
    this.seconds = (performance.now() - this.#started) / 1000;
    const logs = await Promise.all(
      (await this.#cluster.pods('default', `app=${NAME}`)).map((pod) =>
        this.#cluster.kubectl(['logs', '--tail=1', pod]),
      ),
    );
    const all = logs.map((line) => JSON.parse(line) as Counts);
    const sum = (of: (counts: Counts) => number) => all.reduce((total, counts) => total + of(counts), 0);
    const most = (of: (counts: Counts) => number) => Math.max(...all.map(of));
    return {
      made: sum((counts) => counts.made),
      failed: sum((counts) => counts.failed),
      answered: sum((counts) => counts.answered),
      unanswered: sum((counts) => counts.unanswered),
      askedAgain: sum((counts) => counts.askedAgain),
      slowestConnection: most((counts) => counts.slowestConnection),
      slowestName: most((counts) => counts.slowestName),
      failures: all.flatMap(({ failures }) => failures).toSorted(),
    };
  }

  summary({
    made,
    failed,
    answered,
    unanswered,
    askedAgain,
    slowestConnection,
    slowestName,
    failures,
  }: Counts): string {
    const ms = (value: number) => `${value.toFixed(0)} ms`;
    return [
      `${made} connections (slowest ${ms(slowestConnection)}), ${failed} failed; ` +
        `${answered} names (slowest ${ms(slowestName)}), ${askedAgain} asked twice, ${unanswered} unanswered; in ${this.seconds.toFixed(0)} s`,
      ...(failures.length > 0 ? [...this.#marks, ...failures].toSorted() : []),
    ].join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster.kubectl(['delete', 'deployment,configmap', NAME, '--wait=false', '--ignore-not-found']);
  }
}
