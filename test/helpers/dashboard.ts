// SPDX-License-Identifier: Apache-2.0
// The Grafana dashboard of the manifests, as its tests read it.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const DASHBOARD = 'manifests/components/dashboard/gate64.json';

interface Target {
  readonly expr: string;
  readonly datasource: { readonly uid: string };
  readonly legendFormat: string;
}
interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
}
interface Variable {
  readonly name: string;
  readonly type: string;
  readonly definition?: string;
  readonly allValue?: string;
}

export interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
}

export function readDashboard(): Dashboard {
  return JSON.parse(readFileSync(join(import.meta.dirname, '../..', DASHBOARD), 'utf8')) as Dashboard;
}

/** A query as Grafana sends it. Throws when it has a variable that is not among `variables`. */
export function substituted(expr: string, variables: Readonly<Record<string, string>>): string {
  return expr.replaceAll(/\$\{?(\w+)\}?/g, (text, name: string) => {
    const value = variables[name];
    if (value === undefined) throw new Error(`unknown variable ${text}: ${expr}`);
    return value;
  });
}
