// SPDX-License-Identifier: Apache-2.0
// The text of the configuration that was accepted last, in a file: what stands in while the configuration file is wrong.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const ACCEPTED_FILE = '/run/gate64/accepted.yaml';

/** Of the first line, which names the file that the rest was read from. */
const HEAD = '# In force while it is wrong: ';

export class AcceptedFile {
  readonly path: string;

  constructor(path: string = ACCEPTED_FILE) {
    this.path = path;
  }

  /** What `file` said when it was accepted last; undefined where that is not kept, or not for the caller to read. */
  read(file: string): string | undefined {
    const last = this.last();
    return last?.file === file ? last.text : undefined;
  }

  /** What was accepted last, of whichever file; undefined where that is not kept, or not for the caller to read. */
  last(): { readonly file: string; readonly text: string } | undefined {
    try {
      const text = readFileSync(this.path, 'utf8');
      const end = text.indexOf('\n');
      if (end < 0 || !text.startsWith(HEAD)) return undefined;
      return { file: String(JSON.parse(text.slice(HEAD.length, end))), text: text.slice(end + 1) };
    } catch {
      return undefined;
    }
  }

  /** Throws what the file system says. */
  write(file: string, text: string): void {
    if (this.read(file) === text) return;
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o755 });
    // One that was left half written may have another mode.
    rmSync(`${this.path}.new`, { force: true });
    writeFileSync(`${this.path}.new`, `${HEAD}${JSON.stringify(file)}\n${text}`, { mode: 0o600 });
    // A rename is whole or not at all, whenever the process dies.
    renameSync(`${this.path}.new`, this.path);
  }

  /** True when there was one. */
  remove(): boolean {
    rmSync(`${this.path}.new`, { force: true });
    try {
      rmSync(this.path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
  }
}
