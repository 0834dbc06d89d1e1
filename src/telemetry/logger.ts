// SPDX-License-Identifier: Apache-2.0
// The log: JSON lines for machines, or one readable line a message for people. Written to stderr, so that stdout stays
// what a command was asked for.

import { pino, stdSerializers, stdTimeFunctions, type DestinationStream, type Logger as Pino } from 'pino';
import { formatTextLine } from './log-text.ts';
import { isPipe, PipeSink } from './pipe-sink.ts';

/** As in the configuration; structural, since this room knows none above it. */
export interface LogSettings {
  readonly level: string;
  readonly format: 'auto' | 'json' | 'text';
}

export interface LoggerOptions extends LogSettings {
  /** Whether a person reads along; decides what 'auto' is. Default: whether stderr is a terminal. */
  readonly isTerminal?: boolean;
  /** Gets whole lines. Default: stderr. */
  readonly destination?: DestinationStream;
}

const STDERR_FD = 2;

/** `fields` of the name `err` are errors. */
export class Logger {
  readonly #pino: Pino;
  readonly #isTerminal: boolean;
  #asText = false;
  /** Whether whoever reads looks for faults of gate64 itself. */
  #isVerbose = false;

  constructor(options: LoggerOptions) {
    const sink = options.destination ?? this.#stderr();
    this.#isTerminal = options.isTerminal ?? process.stderr.isTTY;
    this.#pino = pino(
      {
        base: null,
        timestamp: stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        serializers: {
          err: (error: Error) => (this.#isVerbose ? stdSerializers.errWithCause(error) : errorFields(error)),
        },
      },
      { write: (line) => sink.write(this.#asText ? `${formatTextLine(line, this.#isVerbose)}\n` : line) },
    );
    this.configure(options);
  }

  /** Holds from the next line on. */
  configure({ level, format }: LogSettings): void {
    this.#pino.level = level;
    this.#isVerbose = level === 'debug' || level === 'trace';
    this.#asText = format === 'text' || (format === 'auto' && this.#isTerminal);
  }

  #stderr(): DestinationStream {
    // Synchronous: what is logged right before a crash is what one wants to read.
    if (!isPipe(STDERR_FD)) return pino.destination({ fd: STDERR_FD, sync: true });
    // Node makes the descriptor a non-blocking one when it opens its stream.
    process.stderr.on('error', () => undefined);
    const sink = new PipeSink({
      fd: STDERR_FD,
      onLost: (lines) => this.warn({ lines }, 'log lines were lost, since nobody read them'),
    });
    process.on('exit', () => sink.end());
    return sink;
  }

  debug(fields: object, message: string): void {
    this.#pino.debug(fields, message);
  }

  info(fields: object, message: string): void {
    this.#pino.info(fields, message);
  }

  warn(fields: object, message: string): void {
    this.#pino.warn(fields, message);
  }

  error(fields: object, message: string): void {
    this.#pino.error(fields, message);
  }
}

/** An error that has a code explains itself: no stack. One that has none was not foreseen, and keeps it. */
function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (!('code' in error)) return stdSerializers.errWithCause(error);
  const { message, code, cause } = error;
  const hint = 'hint' in error ? error.hint : undefined;
  return { message, code, hint, cause: cause instanceof Error ? { message: cause.message } : undefined };
}
