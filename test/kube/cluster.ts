// SPDX-License-Identifier: Apache-2.0
// The cluster that run.sh started: commands on its node, in its pods, and on its internet.

import { join } from 'node:path';
import { eventually, run, start, type Background, type RunOptions } from '../helpers/processes.ts';

export const ROOT = join(import.meta.dirname, '../..');
const ENTER = join(import.meta.dirname, 'enter.sh');

interface ContainerStatus {
  readonly name: string;
  readonly ready: boolean;
  readonly containerID: string;
}

interface Pod {
  readonly metadata: { readonly deletionTimestamp?: string };
  readonly status: {
    readonly containerStatuses?: readonly ContainerStatus[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
  };
}

export class Cluster {
  readonly #state: string;

  /** @param state The folder that up.sh was given. */
  constructor(state: string) {
    this.#state = state;
  }

  /** Runs a command on the node; gives what it printed, trimmed. Throws when it fails. */
  async node(argv: readonly string[], options: RunOptions = {}): Promise<string> {
    const { stdout } = await run([ENTER, this.#state, ...argv], { timeoutMs: 30_000, ...options });
    return stdout.trim();
  }

  kubectl(argv: readonly string[], options: RunOptions = {}): Promise<string> {
    return this.node(['kubectl', ...argv], options);
  }

  /** Runs a command in a pod of the namespace default. */
  pod(name: string, argv: readonly string[], options: RunOptions = {}): Promise<string> {
    return this.kubectl(['exec', name, '--', ...argv], options);
  }

  /** Starts a command in a pod and leaves it running. */
  startInPod(name: string, argv: readonly string[]): Background {
    return start([...this.#lasting(), 'kubectl', 'exec', name, '--', ...argv]);
  }

  /** Starts a command on the IPv4-only internet and leaves it running; it ends with the cluster at the latest. */
  startOnInternet(argv: readonly string[]): Background {
    return start([...this.#lasting(), 'nsenter', '--net=/run/netns/internet', '--', ...argv]);
  }

  /** nsenter passes no signal on to what it started: its end has to be the end of that. */
  #lasting(): string[] {
    return [ENTER, this.#state, 'setpriv', '--pdeathsig', 'KILL', '--'];
  }

  /** Makes what these objects say. */
  async apply(...objects: readonly object[]): Promise<void> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    await this.kubectl(['apply', '-f', '-'], { input: JSON.stringify(list) });
  }

  /** Waits until a workload (`daemonset/gate64`) has all its pods Ready, of its newest revision. */
  async rolledOut(namespace: string, workload: string, seconds = 90): Promise<void> {
    await this.kubectl(['-n', namespace, 'rollout', 'status', workload, `--timeout=${seconds}s`], {
      timeoutMs: (seconds + 10) * 1000,
    });
  }

  /** Names of the pods that a selector meets. */
  async pods(namespace: string, selector: string): Promise<string[]> {
    const names = await this.kubectl(['-n', namespace, 'get', 'pod', '-l', selector, '-o', 'name']);
    return names.split('\n').filter((name) => name !== '');
  }

  /** Its id at containerd, in a pod that is to stay: one that is being ended still answers, and is in no Service. */
  async runningContainer(namespace: string, selector: string, name: string): Promise<string> {
    const find = () => this.#findContainer(namespace, selector, name);
    return eventually(`a container ${name} of ${selector} is ready`, find, 60_000, 500);
  }

  async #findContainer(namespace: string, selector: string, name: string): Promise<string | undefined> {
    const text = await this.kubectl(['-n', namespace, 'get', 'pod', '-l', selector, '-o', 'json']);
    const { items } = JSON.parse(text) as { items: Pod[] };
    const ids = items
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .flatMap(({ status }) => [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])])
      .filter((container) => container.name === name && container.ready)
      .map(({ containerID }) => containerID.replace('containerd://', ''));
    return ids[0];
  }
}
