// SPDX-License-Identifier: Apache-2.0
// Which kind of file a text is, by what only that kind has.

import type { Kind } from './reading.ts';

const SIGNS: readonly (readonly [Kind, RegExp])[] = [
  [
    'bind',
    /^(?:(?:options|logging|forwarders|controls)(?:[ \t]*\{|$)|include[ \t]+".*";|(?:view|zone|acl|key|tls)[ \t]+"?[\w.-]+"?.*\{)/,
  ],
  ['unbound', /^(?:server|forward-zone|stub-zone|remote-control|dns64-prefix|module-config|include-toplevel)[ \t]*:/],
  ['tayga', /^(?:tun-device|ipv4-addr|ipv6-addr|dynamic-pool|data-dir|prefix|map)[ \t]+[^{ \t]/],
  ['corefile', /^(?:dns64|forward)(?:[ \t]|$)|^(?:\(\w+\)|[^\s"{}]*[.:][^\s"{}]*).*\{$/],
];

const MAX_LINE = 1000;

/** undefined: none that is known. The first line with a sign of a kind decides. */
export function recognise(text: string): Kind | undefined {
  if (
    text
      .replace(/^\uFEFF/, '')
      .trimStart()
      .startsWith('{')
  )
    return 'jool';
  for (const row of text.split('\n')) {
    const line = row.slice(0, MAX_LINE).trim();
    if (/^(?:#|\/\/|\*|\/\*)/.test(line)) continue;
    const kind = SIGNS.find(([, sign]) => sign.test(line))?.[0];
    if (kind !== undefined) return kind;
  }
  return undefined;
}
