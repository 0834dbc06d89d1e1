// SPDX-License-Identifier: Apache-2.0
// The Kubernetes manifests as kubectl's kustomize renders them. `make manifests` writes manifests/install.yaml with it.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { valueAt } from '../../src/config/tree.ts';
import { ROOT } from './repository.ts';

export const INSTALL = 'manifests/install.yaml';
export const CHART = 'manifests/helm/gate64';
const HEADER =
  '# SPDX-License-Identifier: Apache-2.0\n' +
  '# manifests/ in one file, made by `make manifests`: kubectl apply -f install.yaml. Put the name of your image in it.\n';

/** Paths are the repository's. `find` prints the path of the program. Throws when that refuses it. */
function render(find: string, args: readonly string[], input = ''): string {
  const program = execFileSync(join(ROOT, find), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  return execFileSync(program.trim(), args, { cwd: ROOT, encoding: 'utf8', input, stdio: 'pipe' });
}

function kubectl(args: readonly string[], input = ''): string {
  return render('test/deps/kubectl.sh', args, input);
}

/** The YAML of the chart with these values, in the namespace of the kustomizations. Throws when helm refuses them. */
export function chartText(values: unknown = {}): string {
  const args = ['template', 'gate64', CHART, '--namespace', 'gate64-system', '--values', '-'];
  return render('test/deps/helm.sh', args, JSON.stringify(values));
}

/** The YAML of the kustomization in `folder`. */
export function renderText(folder: string): string {
  return kubectl(['kustomize', folder]);
}

/** The YAML of an object after `kubectl patch --patch-file`, which asks no cluster here. */
export function patchText(yaml: string, patchFile: string): string {
  return kubectl(['patch', '--local', '-f', '-', '--patch-file', patchFile, '-o', 'yaml'], yaml);
}

export function installText(): string {
  return HEADER + renderText('manifests');
}

/** What one kustomization makes. Values are read by path; undefined where there is none. */
export class Rendered {
  readonly objects: readonly unknown[];

  constructor(yaml: string) {
    this.objects = parseAllDocuments(yaml).map((document): unknown => document.toJS());
  }

  object(kind: string, name: string): unknown {
    return this.objects.find(
      (entry) => valueAt(entry, ['kind']) === kind && valueAt(entry, ['metadata', 'name']) === name,
    );
  }

  /** As `Kind namespace/name`, in order. */
  get names(): string[] {
    return this.objects
      .map((entry) => {
        const { kind, metadata } = entry as { kind: string; metadata: { name: string; namespace?: string } };
        return `${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}`;
      })
      .toSorted();
  }

  /** What makes pods. */
  get workloads(): Workload[] {
    return this.objects
      .filter((entry) => ['DaemonSet', 'Deployment'].includes(String(valueAt(entry, ['kind']))))
      .map((entry) => new Workload(entry));
  }

  /** Throws when there is none of that name. */
  workload(name: string): Workload {
    const found = this.workloads.find((entry) => entry.name === name);
    if (found === undefined) throw new Error(`no workload ${name}: ${this.names.join(', ')}`);
    return found;
  }
}

export class Workload {
  readonly object: unknown;

  constructor(object: unknown) {
    this.object = object;
  }

  get name(): string {
    return String(valueAt(this.object, ['metadata', 'name']));
  }

  get namespace(): string {
    return String(valueAt(this.object, ['metadata', 'namespace']));
  }

  get labels(): Record<string, string> {
    return (valueAt(this.object, ['spec', 'template', 'metadata', 'labels']) ?? {}) as Record<string, string>;
  }

  /** Below the pod's `spec`. */
  pod(...path: (string | number)[]): unknown {
    return valueAt(this.object, ['spec', 'template', 'spec', ...path]);
  }

  /** All containers of the pod, those that begin first included. */
  get containers(): Container[] {
    return ['initContainers', 'containers']
      .flatMap((kind) => list(this.pod(kind) ?? []))
      .map((entry) => new Container(entry));
  }

  /** Throws when there is none of that name. */
  container(name = 'gate64'): Container {
    const found = this.containers.find((entry) => entry.get('name') === name);
    if (found === undefined) throw new Error(`no container ${name} in ${this.name}`);
    return found;
  }
}

export class Container {
  readonly #object: unknown;

  constructor(object: unknown) {
    this.#object = object;
  }

  get(...path: (string | number)[]): unknown {
    return valueAt(this.#object, path);
  }

  /** Numbers by name. */
  get ports(): Map<unknown, unknown> {
    return new Map(
      list(this.get('ports') ?? []).map((port) => [valueAt(port, ['name']), valueAt(port, ['containerPort'])]),
    );
  }

  /** Octets, of a quantity in Mi or Gi. */
  get memoryLimit(): number {
    const [, number, unit] = /^(\d+)(Mi|Gi)$/.exec(String(this.get('resources', 'limits', 'memory'))) ?? [];
    return Number(number) * (unit === 'Gi' ? 2 ** 30 : 2 ** 20);
  }
}

/** Throws where there is no list. */
export function list(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new TypeError(`a list was expected: ${JSON.stringify(value)}`);
  return value;
}

if (import.meta.main) writeFileSync(join(ROOT, INSTALL), installText());
