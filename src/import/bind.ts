// SPDX-License-Identifier: Apache-2.0
// BIND's named.conf: `dns64` and `forwarders` of the options and of views. gate64 forwards: it neither resolves from the
// root, nor validates, nor has zones.

import { statements, type Statement, type Token } from './blocks.ts';
import { Reading } from './reading.ts';

const KEEP = 'keep BIND without dns64, and name it in dns.upstreams';

function* tokens(text: string): Generator<Token> {
  // A comment that is not closed goes on to the end.
  const lexer = /\n|\/\/[^\n]*|#[^\n]*|\/\*[^]*?(?:\*\/|$)|"[^"\n]*"|[{};]|[^\s{};"#/]+|[^]/g;
  let line = 1;
  let word = '';
  for (const [found] of text.matchAll(lexer)) {
    const comment = /^(?:\/\/|#|\/\*)/.test(found);
    const separates = comment || /^[\s{};]$/.test(found);
    if (separates && word !== '') {
      yield { line, kind: 'word', text: word };
      word = '';
    }
    if (found === '{') yield { line, kind: 'open', text: found };
    else if (found === '}') yield { line, kind: 'close', text: found };
    else if (found === ';') yield { line, kind: 'end', text: found };
    else if (!separates) word += found.startsWith('"') ? found.replaceAll('"', '') : found;
    if (found === '\n' || comment) line += found.split('\n').length - 1;
  }
  if (word !== '') yield { line, kind: 'word', text: word };
}

export function readBind(text: string): Reading {
  const reading = new Reading();
  const top = statements(tokens(text), reading);
  readScope(top, reading);
  const scopes = top.flatMap((statement) =>
    /^(?:options|view)$/.test(statement.words[0] ?? '') ? (statement.block ?? []) : [],
  );
  if (!scopes.some(({ words, block }) => words[0] === 'forwarders' && block !== undefined && block.length > 0)) {
    const why = 'BIND resolves from the root; gate64 asks resolvers, by default those of /etc/resolv.conf';
    reading.lost(1, 'no forwarders', why, `dns.upstreams; or ${KEEP}`);
  }
  return reading;
}

/** Statements of the file, the options or a view; views do not nest, so this goes no deeper. */
function readScope(scope: readonly Statement[], reading: Reading, inner = false): void {
  for (const statement of scope) {
    const { line, words, block } = statement;
    const [name = ''] = words;
    if (!inner && (name === 'options' || name === 'view') && block !== undefined) {
      if (name === 'view') {
        reading.lost(line, words.join(' '), 'gate64 answers all clients alike', 'a gate64 of its own for each view');
      }
      readScope(block, reading, true);
    } else readStatement(statement, name, reading);
  }
}

function readStatement(statement: Statement, name: string, reading: Reading): void {
  const { line, words, block } = statement;
  const what = words.join(' ');
  // What follows a block, such as the ";" behind it, is a statement without words.
  if (name === '') return;
  if (name === 'dns64') readDns64(statement, reading);
  else if (name === 'forwarders') readForwarders(statement, reading);
  else if (name === 'include') {
    reading.lost(
      line,
      what,
      'included files are not followed',
      'name the file as another FILE, if it matters to DNS64',
    );
  } else if (name === 'forward' && words[1] === 'first') {
    reading.lost(line, what, 'gate64 does not resolve from the root when the upstreams fail', KEEP);
  } else if (name === 'zone' && !isHint(block)) reading.lost(line, what, 'gate64 has no zones', KEEP);
  else if (name === 'dnssec-validation' && words[1] !== 'no') {
    reading.lost(line, what, 'gate64 does not validate (DNSSEC)', 'have upstreams that validate');
  } else if (/^allow-(?:query|recursion)$/.test(name)) readClients(statement, reading);
  else if (name === 'response-policy' || name === 'blackhole') reading.lost(line, what, 'gate64 has none', KEEP);
  else if (name === 'listen-on' || name === 'listen-on-v6')
    reading.aside(line, what, 'BIND may still have it', 'dns.listen');
  else reading.aside(line, what, "it is BIND's own");
}

const isHint = (block: readonly Statement[] | undefined): boolean =>
  block?.some(({ words }) => words[0] === 'type' && words[1] === 'hint') === true;

/** The elements of an address match list; undefined where one is not an address, a network or a known word. */
function matchList(block: readonly Statement[] | undefined): { negative: boolean; net: string }[] | undefined {
  const all: { negative: boolean; net: string }[] = [];
  for (const { words, block: nested } of block ?? []) {
    if (words.length === 0 && nested === undefined) continue;
    const text = words.join('');
    const negative = text.startsWith('!');
    const net = text.slice(negative ? 1 : 0);
    if (
      nested !== undefined ||
      !/^(?:any|none|localhost|localnets|[0-9.]+(?:\/\d+)?|[0-9a-f:.]*:[0-9a-f:.]*(?:\/\d+)?)$/i.test(net)
    ) {
      return undefined;
    }
    all.push({ negative, net: wholeNet(net) });
  }
  return all;
}

/** BIND takes "10/8" for 10.0.0.0/8. */
function wholeNet(net: string): string {
  const [address = '', length] = net.split('/');
  if (length === undefined || !/^\d+(?:\.\d+){0,2}\.?$/.test(address)) return net;
  const parts = address.split('.').filter((part) => part !== '');
  return `${[...parts, '0', '0', '0'].slice(0, 4).join('.')}/${length}`;
}

function showList({ words, block }: Statement): string {
  const elements = (block ?? []).slice(0, 8).map((element) => element.words.join(' '));
  return `${words.join(' ')} { ${elements.join('; ')} }`;
}

/** Of a list without exceptions, which `key` can take; one that it cannot is noted as lost. */
function plainNets(statement: Statement, reading: Reading, why: string, key: string): string[] {
  const list = matchList(statement.block);
  if (list !== undefined && list.every(({ negative }) => !negative)) return list.map(({ net }) => net);
  reading.lost(statement.line, showList(statement), why, key);
  return [];
}

function readClients(statement: Statement, reading: Reading): void {
  const why = 'gate64 takes networks that may ask, no names of lists and no exceptions';
  for (const net of plainNets(statement, reading, why, 'dns.allowClients')) {
    const nets =
      net === 'any' ? ['0.0.0.0/0', '::/0'] : net === 'none' ? [] : net.startsWith('local') ? ['local'] : [net];
    for (const client of nets) reading.carry(statement.line, 'dns.allowClients', client);
  }
}

function readDns64({ line, words, block }: Statement, reading: Reading): void {
  reading.carry(line, 'prefix', words[1] ?? '');
  for (const option of block ?? []) {
    const [name = '', value = ''] = option.words;
    const what = option.words.join(' ');
    if (name === '') continue;
    if (name === 'mapped') readMapped(option, reading);
    else if (name === 'exclude') readExclude(option, reading);
    else if (name === 'clients') {
      const list = matchList(option.block);
      if (list?.length === 1 && list[0]?.net === 'any' && !list[0].negative) continue;
      const why = 'gate64 synthesizes for all that may ask, and BIND answered the others as it is';
      reading.lost(option.line, showList(option), why, 'dns.allowClients, which refuses the others');
    } else if (name === 'suffix') {
      if (!/^[0:]+$/.test(value)) reading.lost(option.line, what, 'the suffix is zero (RFC 6052 2.2)');
    } else if (name === 'break-dnssec') {
      const why = 'gate64 synthesizes for clients that want signatures (DO), and not for those that validate (CD)';
      reading.aside(option.line, what, why, 'dns.ignoreChecking for those with CD');
    } else if (name === 'recursive-only') reading.aside(option.line, what, 'gate64 has only recursive answers');
    else reading.lost(option.line, what, 'this option of dns64 is not known', 'see docs/configuration.md');
  }
}

/** `!NET; …; any;` are networks that nothing leads to; gate64 refuses names and packets to what it denies. */
function readMapped(option: Statement, reading: Reading): void {
  const list = matchList(option.block);
  const last = list?.at(-1);
  if (
    list === undefined ||
    last?.net !== 'any' ||
    last.negative ||
    list.slice(0, -1).some(({ negative }) => !negative)
  ) {
    const why = 'gate64 takes networks that are excepted, not those that alone are mapped';
    reading.lost(option.line, showList(option), why, 'nat64.deny with all others');
    return;
  }
  for (const { net } of list.slice(0, -1)) reading.carry(option.line, 'nat64.deny', net);
}

function readExclude(option: Statement, reading: Reading): void {
  const why = 'gate64 takes IPv6 networks, no names of lists and no exceptions';
  for (const net of plainNets(option, reading, why, 'dns.excludeAaaa')) {
    if (net === 'any') reading.carry(option.line, 'dns.translateAll', true);
    else if (net !== 'none') reading.carry(option.line, 'dns.excludeAaaa', net.includes('/') ? net : `${net}/128`);
  }
}

function readForwarders({ line, words, block }: Statement, reading: Reading): void {
  const after = (list: readonly string[], word: string) => list[list.indexOf(word) + 1 || list.length];
  const [port, tls] = [after(words, 'port'), after(words, 'tls')];
  for (const { line: at, words: target } of block ?? []) {
    const [address = ''] = target;
    if (address === '') continue;
    const ownPort = after(target, 'port') ?? port;
    const ownTls = after(target, 'tls') ?? tls;
    const place = ownPort === undefined ? address : `${address.includes(':') ? `[${address}]` : address}:${ownPort}`;
    if (ownTls === undefined) {
      reading.carry(at, 'dns.upstreams', place);
      continue;
    }
    reading.carry(at, 'dns.upstreams', `tls://${place}`);
    if (ownTls === 'ephemeral') {
      reading.lost(at, target.join(' '), 'gate64 always checks the certificate', 'tls://ADDRESS#NAME with its name');
    } else
      reading.lost(at, target.join(' '), `the tls block "${ownTls}" is not read`, 'tls://ADDRESS#NAME, and dns.tls.ca');
  }
  if (words.length > 1) reading.aside(line, words.join(' '), 'port and tls are written with each upstream');
}
