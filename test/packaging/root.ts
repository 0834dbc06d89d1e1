// SPDX-License-Identifier: Apache-2.0
// A file tree as the root of a node of the topology: an overlay, so that the tree itself stays as it was built.

import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, type Background, type Finished, type RunOptions } from '../helpers/processes.ts';
import type { Topology } from '../helpers/topology.ts';

export class NodeRoot {
  readonly path: string;
  readonly #topology: Topology;

  private constructor(path: string, topology: Topology) {
    this.path = path;
    this.#topology = topology;
  }

  /** `tree` is read only; what is written goes with the sandbox. */
  static async mount(tree: string, topology: Topology): Promise<NodeRoot> {
    // Not in the topology's folder, which is removed file by file while this is still mounted.
    const directory = mkdtempSync(join(tmpdir(), 'gate64-root-'));
    const at = (name: string) => join(directory, name);
    for (const name of ['upper', 'work', 'root']) mkdirSync(at(name));
    const layers = `lowerdir=${tree},upperdir=${at('upper')},workdir=${at('work')}`;
    await run(['mount', '-t', 'overlay', 'overlay', '-o', layers, at('root')]);
    // The network namespace's own devices, and the pins of the sandbox.
    for (const path of ['/proc', '/dev']) await run(['mount', '--rbind', path, join(at('root'), path)]);
    await topology.sh('node', `mount -t sysfs sysfs ${at('root')}/sys`);
    await run(['mount', '--bind', '/sys/fs/bpf', `${at('root')}/sys/fs/bpf`]);
    return new NodeRoot(at('root'), topology);
  }

  #enter(argv: readonly string[], rights: readonly string[]): string[] {
    return [
      ...rights,
      'chroot',
      this.path,
      'env',
      '-i',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin',
      ...argv,
    ];
  }

  /** Runs a program of the tree in the node's network namespace. */
  run(argv: readonly string[], options?: RunOptions): Promise<Finished> {
    return this.#topology.run('node', this.#enter(argv, []), options);
  }

  /** As the DaemonSet runs it: root with three capabilities, and the one that chroot itself takes. */
  start(argv: readonly string[]): Background {
    const keep = '--bounding-set=-all,+bpf,+net_admin,+perfmon,+net_bind_service,+sys_chroot';
    return this.#topology.start('node', this.#enter(argv, ['setpriv', keep, '--']));
  }

  /** As the DNS half runs it: nobody, without any. */
  runUnprivileged(argv: readonly string[], options?: RunOptions): Promise<Finished> {
    const user = ['chroot', '--userspec=65532:65532', this.path];
    return this.#topology.run('node', [...user, 'env', '-i', 'PATH=/usr/local/bin:/usr/bin', ...argv], options);
  }
}
