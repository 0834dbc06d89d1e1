// SPDX-License-Identifier: Apache-2.0
// HTML from text that nobody vouches for: names that pods asked for, words of other programs. What is put in is escaped.

/** Text that is HTML already. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Part = string | number | Markup | readonly Part[];

/** HTML of the template itself; values are escaped unless they are Markup. To be used in content and quoted attributes. */
export function markup(strings: TemplateStringsArray, ...values: readonly Part[]): Markup {
  return new Markup(strings.reduce((text, next, i) => text + partText(values[i - 1] ?? '') + next));
}

function partText(part: Part): string {
  if (part instanceof Markup) return part.text;
  if (typeof part === 'object') return part.map(partText).join('');
  return escapeHtml(String(part));
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * What would be markup becomes entities; what cannot be seen or turns the direction of writing (controls, format
 * characters, line separators) becomes `\u{202e}`; halves of characters become U+FFFD.
 */
export function escapeHtml(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (odd) => `\\u{${odd.codePointAt(0)?.toString(16) ?? ''}}`)
    .replace(/[&<>"']/g, (special) => ENTITIES[special] ?? special);
}
