// SPDX-License-Identifier: Apache-2.0
// A headless browser, where one is installed: what it makes of a page, its scripts run.

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Debian's `chromium`; undefined where it is not installed. */
export function chromiumPath(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.map((folder) => join(folder, 'chromium')).find((path) => existsSync(path));
}

/**
 * The document after so many milliseconds of the page's own time, and what the page and the browser said of it.
 * @param more further arguments of the browser
 */
export async function dumpDom(
  chromium: string,
  url: string,
  ms: number,
  more: readonly string[] = [],
): Promise<{ dom: string; said: string }> {
  const home = mkdtempSync(join(tmpdir(), 'gate64-chromium-'));
  try {
    const { stdout, stderr } = await run(
      chromium,
      [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--no-first-run',
        `--user-data-dir=${home}`,
        '--enable-logging=stderr',
        `--virtual-time-budget=${ms}`,
        ...more,
        '--dump-dom',
        url,
      ],
      { env: { ...process.env, HOME: home }, timeout: 60_000, maxBuffer: 2 ** 24 },
    );
    return {
      dom: stdout,
      said: stderr
        .split('\n')
        .filter((line) => line.includes('CONSOLE'))
        .join('\n'),
    };
  } finally {
    rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  }
}
