// SPDX-License-Identifier: Apache-2.0
// Words of the commands that findings name. Names of devices, tables and chains are somebody else's choice, and whoever
// follows such a command does so as root.

const PLAIN = /^[\w@%+=:,./-]+$/;

/** One word for a POSIX shell. */
export function shellWord(text: string): string {
  return PLAIN.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
