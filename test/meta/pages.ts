// SPDX-License-Identifier: Apache-2.0
// `make docs`: writes the pages of docs/ that follow from code and tests. pages.test.ts keeps them fresh.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { conformancePage } from './conformance.ts';
import { configurationPage, dropsPage, errorsPage, findingsPage, metricsPage } from './lists.ts';
import { ROOT } from './repository.ts';

export const PAGES: Readonly<Record<string, () => string>> = {
  'docs/configuration.md': configurationPage,
  'docs/conformance.md': conformancePage,
  'docs/drops.md': dropsPage,
  'docs/errors.md': errorsPage,
  'docs/findings.md': findingsPage,
  'docs/metrics.md': metricsPage,
};

if (import.meta.main) {
  mkdirSync(join(ROOT, 'docs'), { recursive: true });
  for (const [path, page] of Object.entries(PAGES)) writeFileSync(join(ROOT, path), page());
}
