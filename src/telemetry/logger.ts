// SPDX-License-Identifier: Apache-2.0
// The log: JSON lines for machines, or one readable line a message for people. Written to stderr, so that stdout stays
// what a command was asked for.

import { pino, stdSerializers, stdTimeFunctions, type DestinationStream, type Logger as PinoLogger } from 'pino';
import { formatTextLine } from './log-text.ts';

export type Logger = PinoLogger;

/** As in the configuration; structural, since this room knows none above it. */
export interface LoggerOptions {
  readonly level: string;
  readonly format: 'auto' | 'json' | 'text';
  /** Whether a person reads along; decides what 'auto' is. Default: whether stderr is a terminal. */
  readonly isTerminal?: boolean;
  /** Gets whole lines. Default: stderr. */
  readonly destination?: DestinationStream;
}

const STDERR_FD = 2;

export function createLogger(options: LoggerOptions): Logger {
  const isTerminal = options.isTerminal ?? process.stderr.isTTY;
  const asText = options.format === 'text' || (options.format === 'auto' && isTerminal);
  // Synchronous: what is logged right before a crash is what one wants to read.
  const sink = options.destination ?? pino.destination({ fd: STDERR_FD, sync: true });
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: verbose(options.level) ? stdSerializers.errWithCause : errorFields },
    },
    asText ? textStream(sink, options.level) : sink,
  );
}

/** A logger that writes nothing. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}

function verbose(level: string): boolean {
  return level === 'debug' || level === 'trace';
}

/** An error that has a code explains itself: no stack. One that has none was not foreseen, and keeps it. */
function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (!('code' in error)) return stdSerializers.errWithCause(error);
  const { message, code, cause } = error;
  const hint = 'hint' in error ? error.hint : undefined;
  return { message, code, hint, cause: cause instanceof Error ? { message: cause.message } : undefined };
}

function textStream(sink: DestinationStream, level: string): DestinationStream {
  const withStacks = verbose(level);
  return { write: (line) => sink.write(`${formatTextLine(line, withStacks)}\n`) };
}
