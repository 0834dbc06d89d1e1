// SPDX-License-Identifier: Apache-2.0
// JSON that knows its lines. JSON.parse does not tell where a value stands, and a note has to.

/** `value` is a scalar, a list of nodes or a map of nodes; keys keep the last of equal names. */
export interface JsonNode {
  readonly line: number;
  readonly value: string | number | boolean | null | JsonNode[] | Map<string, JsonNode>;
}

/** Where the text is not JSON. */
export class JsonError extends Error {
  override name = 'JsonError';
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

const MAX_DEPTH = 16;

interface Lexeme {
  readonly line: number;
  readonly text: string;
}

function lexemes(text: string): Lexeme[] {
  // A string that is not closed ends with its line, or the lexer would look for its end at every later quote.
  const lexer = /\n|"(?:[^"\\\n]|\\[^\n])*"?|[{}[\]:,]|[^\s{}[\]:,"]+/g;
  const all: Lexeme[] = [];
  let line = 1;
  for (const [found] of text.matchAll(lexer)) {
    if (found === '\n') line++;
    else all.push({ line, text: found });
  }
  return all;
}

/** Throws JsonError. Nesting is bounded, so this does not recurse without end. */
export function parseJson(text: string): JsonNode {
  const all = lexemes(text);
  let at = 0;
  const last = all.at(-1)?.line ?? 1;
  const next = (): Lexeme => {
    const lexeme = all[at++];
    if (lexeme === undefined) throw new JsonError(last, 'the file ends within a value');
    return lexeme;
  };
  const scalar = ({ line, text }: Lexeme): string | number | boolean | null => {
    try {
      return JSON.parse(text) as string | number | boolean | null;
    } catch {
      throw new JsonError(line, 'this is not JSON');
    }
  };
  const closes = (end: string): boolean => {
    if (all[at]?.text !== end) return false;
    at++;
    return true;
  };
  const separator = (end: string): boolean => {
    const { line, text } = next();
    if (text !== end && text !== ',') throw new JsonError(line, `expected "," or "${end}"`);
    return text === ',';
  };
  const value = (depth: number): JsonNode => {
    const lexeme = next();
    const { line } = lexeme;
    if (depth > MAX_DEPTH) throw new JsonError(line, `it nests deeper than ${MAX_DEPTH}`);
    if (lexeme.text === '[') {
      const items: JsonNode[] = [];
      if (closes(']')) return { line, value: items };
      do items.push(value(depth + 1));
      while (separator(']'));
      return { line, value: items };
    }
    if (lexeme.text !== '{') return { line, value: scalar(lexeme) };
    const members = new Map<string, JsonNode>();
    if (closes('}')) return { line, value: members };
    do {
      const key = next();
      const name = scalar(key);
      if (typeof name !== 'string') throw new JsonError(key.line, 'expected a name in quotes');
      if (next().text !== ':') throw new JsonError(key.line, 'expected ":" behind the name');
      const member = value(depth + 1);
      // A section is where its name stands.
      members.set(name, { line: key.line, value: member.value });
    } while (separator('}'));
    return { line, value: members };
  };
  const root = value(1);
  const rest = all[at];
  if (rest !== undefined) throw new JsonError(rest.line, 'something follows the value');
  return root;
}

/** A scalar as text, something larger as a word for it. */
export function showJson({ value }: JsonNode): string {
  if (Array.isArray(value)) return '[…]';
  return value instanceof Map ? '{…}' : JSON.stringify(value);
}
