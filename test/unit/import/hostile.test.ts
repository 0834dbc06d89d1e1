// SPDX-License-Identifier: Apache-2.0
// Files of anybody's making: what comes out is a configuration all the same, and no comment becomes one.

import { expect } from 'chai';
import fc from 'fast-check';
import { parseConfig } from '../../../src/config/parse.ts';
import { importTexts } from '../../../src/import/import.ts';
import { KINDS, type Kind } from '../../../src/import/reading.ts';
import { recognise } from '../../../src/import/recognise.ts';
import { oneLine } from '../../../src/import/write.ts';
import { holds } from '../../helpers/property.ts';
import { imported, importedAll } from './helper.ts';

/** Pieces that lead into the readers; random bytes alone seldom get behind the first word. */
const PIECES = [
  '{',
  '}',
  ';',
  '\n',
  ' ',
  '"',
  '#',
  '/*',
  '*/',
  '//',
  '\\',
  ':',
  ',',
  '[',
  ']',
  '!',
  '\0',
  '\u2028',
  '\r',
  '\u0085',
  'dns64',
  'forward',
  'prefix',
  '.',
  'tls://',
  '64:ff9b::/96',
  '2001:db8::/32',
  '192.0.2.0/24',
  '192.0.2.53',
  'any',
  'options',
  'view',
  'forwarders',
  'mapped',
  'exclude',
  'clients',
  'suffix',
  'port',
  'tls',
  'server:',
  'forward-zone:',
  'name: "."',
  'forward-addr: 192.0.2.1@53',
  'dns64-prefix: ',
  'module-config: ',
  'tls-cert-bundle: ',
  'access-control: ',
  'dynamic-pool 10.0.0.0/8',
  'map',
  'tun-device',
  '"global"',
  '"pool4"',
  '"pool6"',
  '"bib"',
  '"prefix"',
  '"protocol"',
  '"port range"',
  '"1-99999"',
  '"udp-timeout"',
  '"9:9:9"',
  'null',
  'true',
  '1e999',
  '__proto__',
  '---',
  '- a: b',
];

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 400 }),
  fc.uint8Array({ maxLength: 400 }).map((octets) => Buffer.from(octets).toString('utf8')),
  fc.array(fc.constantFrom(...PIECES), { maxLength: 80 }).map((pieces) => pieces.join(' ')),
  fc.array(fc.constantFrom(...PIECES), { maxLength: 80 }).map((pieces) => pieces.join('')),
  fc.json(),
);
const foreign = fc.record({
  name: fc.string({ unit: 'binary', maxLength: 40 }),
  text,
  kind: fc.constantFrom(...KINDS),
});

describe('importing hostile files', () => {
  it('makes a configuration of whatever the files hold', () => {
    holds(
      fc.property(fc.array(foreign, { minLength: 1, maxLength: 3 }), (texts) => {
        for (const one of texts) recognise(one.text);
        const made = importTexts(texts);
        parseConfig(made.text, 'made');
        // Every line of the head is a comment, whatever stood in the files.
        const head = made.text.split(/\r\n|[\n\r\u0085\u2028\u2029]/).slice(0, made.notes.length + 1);
        expect(head.every((line) => line.startsWith('#'))).to.equal(true);
      }),
      { runs: 1500 },
    );
  });

  it('lets no note become YAML, nor anything for the terminal', () => {
    const evil = 'x\r\nnat64: { enabled: false }\u2028\u0085\u001b[31m\u202e';
    const { tree, text } = importedAll([
      { name: evil, text: `. {\n  ${evil.slice(0, 1)}\r${evil.slice(3)}\n}\n`, kind: 'corefile' },
    ]);
    expect(tree).to.equal(null);
    // eslint-disable-next-line no-control-regex
    expect(text).not.to.match(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202e]/);
    expect(oneLine('\ud800', 5)).to.equal('\\u{d800}');
  });

  const large: Record<string, [Kind, string]> = {
    'open braces': ['corefile', '{ '.repeat(250_000)],
    'open quotes': ['corefile', '" \\'.repeat(250_000)],
    'open comments': ['bind', '/* '.repeat(250_000)],
    'half closed comments': ['bind', '/*/'.repeat(250_000)],
    'open blocks': ['bind', 'options{'.repeat(100_000)],
    'blank lines': ['unbound', ' \n'.repeat(400_000)],
    'many zones': ['unbound', 'stub-zone:\n'.repeat(60_000)],
    'many upstreams': [
      'unbound',
      `forward-zone:\nname: "."\n${Array.from({ length: 40_000 }, (_, i) => `forward-addr: 192.0.2.1@${i}\n`).join('')}`,
    ],
    'many prefixes': [
      'tayga',
      Array.from({ length: 20_000 }, (_, i) => `prefix 2001:db8:${(i & 0xffff).toString(16)}::/96\n`).join(''),
    ],
    'many pools': [
      'tayga',
      Array.from({ length: 20_000 }, (_, i) => `dynamic-pool 10.${i >> 8}.${i & 255}.0/24\n`).join(''),
    ],
    'pools over pools': [
      'tayga',
      Array.from({ length: 20_000 }, (_, i) => `dynamic-pool 10.0.0.0/${i % 33}\n`).join(''),
    ],
    'open lists': ['jool', '['.repeat(1_000_000)],
    'many bindings': [
      'jool',
      `{"bib":[${Array.from({ length: 9000 }, (_, i) => `{"protocol":"TCP","ipv6 address":"2001:db8::1#${i}","ipv4 address":"192.0.2.1#1"}`).join()}]}`,
    ],
    'an open string': ['jool', `{"${'\\"'.repeat(400_000)}`],
    'one long word': ['tayga', 'x'.repeat(1_000_000)],
  };
  for (const [what, [kind, body]] of Object.entries(large)) {
    it(`takes ${what}, a megabyte of them, in its stride`, function () {
      this.timeout(10_000);
      recognise(body);
      const { text, lost } = imported(kind, body);
      expect(text.length).to.be.lessThan(2_000_000);
      expect(lost.length).to.be.lessThan(1000);
    });
  }
});
