// SPDX-License-Identifier: Apache-2.0
// A table that a screen reader can walk and a keyboard can scroll: caption, scopes, a region that takes the focus.

import { markup, Markup, type Part } from './markup.ts';

export interface Table {
  /** Of the document. */
  readonly id: string;
  readonly caption: string;
  readonly columns: readonly Column[];
  /** The first cell is the head of its row. */
  readonly rows: readonly (readonly Part[])[];
  /** What stands in the table's place when there are no rows. */
  readonly none: string;
}

/** Numbers stand to the right. */
export type Column = string | { readonly number: string };

export function table({ id, caption, columns, rows, none }: Table): Markup {
  if (rows.length === 0) return markup`<p class="quiet">${none}</p>`;
  const sides = columns.map((column) => (typeof column === 'string' ? LEFT : RIGHT));
  const titles = columns.map((column, i) => {
    return markup`<th scope="col"${sides[i] ?? LEFT}>${typeof column === 'string' ? column : column.number}</th>`;
  });
  const lines = rows.map(([head = '', ...cells]) => {
    const rest = cells.map((cell, i) => markup`<td${sides[i + 1] ?? LEFT}>${cell}</td>`);
    return markup`<tr><th scope="row">${head}</th>${rest}</tr>\n`;
  });
  return markup`<div class="scroll" id="${id}" role="region" tabindex="0" aria-labelledby="${id}-caption"><table>
<caption id="${id}-caption"><span>${caption}</span></caption>
<thead><tr>${titles}</tr></thead>
<tbody>
${lines}</tbody></table></div>`;
}

const LEFT = new Markup('');
const RIGHT = new Markup(' class="number"');
