// SPDX-License-Identifier: Apache-2.0
// A JSON log line as a line for people: time, level, message, then the fields as key=value.

/** `line` is what pino writes. Stacks of errors are shown when `withStacks`, as further lines. */
export function formatTextLine(line: string, withStacks: boolean): string {
  const record: unknown = JSON.parse(line);
  if (!isRecord(record)) return line.trimEnd();
  const { time, level, msg, err, ...fields } = record;
  const head = [asText(time), asText(level).toUpperCase().padEnd(5)];
  if (msg !== undefined) head.push(asText(msg));
  const tail = Object.entries(fields).map(([key, value]) => `${key}=${fieldText(value)}`);
  if (!isRecord(err)) return [...head, ...tail, ...(err === undefined ? [] : [`error=${fieldText(err)}`])].join(' ');
  if (err['message'] !== msg) tail.push(`error=${fieldText(err['message'])}`);
  if (err['code'] !== undefined) tail.push(`code=${fieldText(err['code'])}`);
  if (err['hint'] !== undefined) tail.push(`hint=${fieldText(err['hint'])}`);
  const stack = withStacks && typeof err['stack'] === 'string' ? `\n${err['stack']}` : '';
  return [...head, ...tail].join(' ') + stack;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** One line whatever is in it: a log line must not be forged by a value with a line break. */
function asText(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  return text.replaceAll(/\p{Cc}/gu, (character) => JSON.stringify(character).slice(1, -1));
}

function fieldText(value: unknown): string {
  if (typeof value !== 'string') return asText(value);
  return /^[^\s"=]+$/.test(value) ? asText(value) : asText(JSON.stringify(value));
}
