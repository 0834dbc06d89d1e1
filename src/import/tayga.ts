// SPDX-License-Identifier: Apache-2.0
// tayga.conf: one directive a line. Tayga is stateless, so its maps of whole addresses have no counterpart.

import { Reading } from './reading.ts';

const ASIDE: Readonly<Record<string, string>> = {
  'tun-device': 'gate64 makes a device of its own (nat64.device)',
  'ipv4-addr': 'gate64 needs no address of its own',
  'ipv6-addr': 'gate64 needs no address of its own',
  'data-dir': 'gate64 keeps its sessions in the kernel',
  'strict-frag-hdr': 'gate64 has no such switch',
};

export function readTayga(text: string): Reading {
  const reading = new Reading();
  for (const [index, row] of text.split('\n').entries()) {
    const words = (row.split('#', 1)[0] ?? '').trim().split(/\s+/);
    if (words[0] !== '') readDirective(index + 1, words, reading);
  }
  return reading;
}

function readDirective(line: number, words: readonly string[], reading: Reading): void {
  const [name = '', value = ''] = words;
  const what = words.join(' ');
  const aside = Object.hasOwn(ASIDE, name) ? ASIDE[name] : undefined;
  if (name === 'prefix') reading.carry(line, 'prefix', value);
  else if (name === 'dynamic-pool') reading.carry(line, 'nat64.pool', { addresses: [value] });
  else if (name === 'map') {
    const instead = 'nat64.static, one entry for each protocol and port that has to be reached from outside';
    reading.lost(line, what, 'gate64 maps ports, not whole addresses', instead);
  } else if (name === 'wkpf-strict') {
    if (/^(?:no|off|false|0)$/.test(value)) {
      const instead = 'a prefix of your own, or nat64.allowNonGlobalIpv4 with the networks';
      reading.lost(line, what, '64:ff9b::/96 leads to global addresses alone (RFC 6052)', instead);
    } else reading.aside(line, what, 'gate64 keeps to it always');
  } else if (name === 'include') {
    reading.lost(line, what, 'included files are not followed', 'name the file as another FILE');
  } else if (aside !== undefined) reading.aside(line, what, aside);
  else reading.aside(line, what, 'gate64 has no counterpart');
}
