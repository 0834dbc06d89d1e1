// SPDX-License-Identifier: Apache-2.0
// Clients that ask one after another, each from a port of its own, and once more when nothing comes.

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { query } from './harness.ts';

export interface LoadResult {
  readonly asked: number;
  readonly sent: number;
  /** Names without an answer to either question. */
  readonly unanswered: readonly string[];
}

export class Load {
  readonly #port: number;
  readonly #nameOf: (i: number) => string;
  readonly #unanswered: string[] = [];
  readonly #clients: Promise<void>[];
  #asked = 0;
  #sent = 0;
  #isOver = false;

  /** `retryMs`: as a stub resolver's patience. */
  constructor(port: number, clients: number, nameOf: (i: number) => string, retryMs = 700) {
    this.#port = port;
    this.#nameOf = nameOf;
    this.#clients = Array.from({ length: clients }, () => this.#run(retryMs));
  }

  get asked(): number {
    return this.#asked;
  }

  async end(): Promise<LoadResult> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    return { asked: this.#asked, sent: this.#sent, unanswered: this.#unanswered };
  }

  async #run(retryMs: number): Promise<void> {
    const socket = createSocket('udp4').on('error', () => undefined);
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    while (!this.#isOver) {
      const name = this.#nameOf(this.#asked++);
      const bytes = query({ name });
      if (!(await this.#ask(socket, bytes, retryMs)) && !(await this.#ask(socket, bytes, retryMs))) {
        this.#unanswered.push(name);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    socket.close();
  }

  #ask(socket: Socket, bytes: Buffer, waitMs: number): Promise<boolean> {
    this.#sent++;
    return new Promise((resolve) => {
      const done = (isAnswered: boolean) => {
        clearTimeout(timer);
        socket.off('message', onMessage);
        resolve(isAnswered);
      };
      const onMessage = (answer: Buffer) => {
        if (answer.readUInt16BE(0) === bytes.readUInt16BE(0)) done(true);
      };
      const timer = setTimeout(() => done(false), waitMs);
      socket.on('message', onMessage);
      socket.send(bytes, this.#port, '127.0.0.1');
    });
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
