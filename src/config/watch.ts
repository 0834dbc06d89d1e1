// SPDX-License-Identifier: Apache-2.0
// Tells when the configuration file says something else than what is in force. A ConfigMap changes by links, so that events
// tell little: the file is read now and then.

import { readFileSync } from 'node:fs';

const POLL_MS = 5_000;

export class ConfigWatch {
  readonly #file: string;
  readonly #onChange: () => void;
  readonly #timer: NodeJS.Timeout;
  /** What was read last, by this watch or by whoever loaded the file. */
  #known: string | undefined;

  constructor(file: string, known: string | undefined, onChange: () => void, pollMs: number = POLL_MS) {
    this.#file = file;
    this.#known = known;
    this.#onChange = onChange;
    this.#timer = setInterval(() => this.#look(), pollMs);
  }

  /** Somebody has read `text`, whatever came of it: it is no change any more. */
  note(text: string | undefined): void {
    this.#known = text ?? this.#known;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8');
    } catch {
      // Gone for a moment is no change; a file that stays away is no reason to stop serving.
      return;
    }
    if (text === this.#known) return;
    this.#known = text;
    this.#onChange();
  }
}
