// SPDX-License-Identifier: Apache-2.0
// CSV (RFC 4180) that spreadsheets open without running what is in it.

/** Rows with a line of titles. */
export function renderCsv(titles: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  return [titles, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}

/** Text that a spreadsheet would take for a formula gets an apostrophe in front. */
function cell(value: string | number): string {
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",;\r\n']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
