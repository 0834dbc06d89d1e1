// SPDX-License-Identifier: Apache-2.0
// CoreDNS's Corefile: its `dns64` and `forward` plugins. The rest of it stays CoreDNS's.

import { statements, type Statement, type Token } from './blocks.ts';
import { Reading } from './reading.ts';

/** The lexer is the Caddyfile's: words, quotes, comments where a word would begin, braces that stand alone. */
function* tokens(text: string): Generator<Token> {
  const lexer = /\n|"(?:[^"\\]|\\[^])*"|#[^\n]*|[^\s"#][^\s]*|"|[^]/g;
  let line = 1;
  for (const [found] of text.matchAll(lexer)) {
    if (found === '\n') {
      yield { line, kind: 'end', text: found };
      line++;
    } else if (found === '{') {
      yield { line, kind: 'open', text: found };
    } else if (found === '}') {
      yield { line, kind: 'close', text: found };
    } else if (found.startsWith('"') && found.length > 1) {
      yield { line, kind: 'word', text: found.slice(1, -1).replaceAll('\\"', '"') };
      line += found.split('\n').length - 1;
    } else if (found.trim() !== '' && !found.startsWith('#')) {
      yield { line, kind: 'word', text: found };
    }
  }
}

export function readCorefile(text: string): Reading {
  const reading = new Reading();
  for (const server of statements(tokens(text), reading)) {
    const keys = server.words.join(' ');
    if (server.block !== undefined) for (const plugin of server.block) readPlugin(plugin, keys, reading);
    else if (server.words[0] === 'import') notFollowed(server, reading);
    else reading.aside(server.line, keys, 'it stands outside of a server block');
  }
  return reading;
}

function readPlugin(plugin: Statement, server: string, reading: Reading): void {
  const [name = '{', ...args] = plugin.words;
  if (name === 'dns64') readDns64(plugin, args, reading);
  else if (name === 'forward') readForward(plugin, args, server, reading);
  else if (name === 'import') notFollowed(plugin, reading);
  else reading.aside(plugin.line, plugin.words.join(' '), "it is CoreDNS's own", 'leave it in the Corefile');
}

function notFollowed(statement: Statement, reading: Reading): void {
  const instead = 'name the file as another FILE, if dns64 or forward stand in it';
  reading.lost(statement.line, statement.words.join(' '), 'included files are not followed', instead);
}

function readDns64(plugin: Statement, args: readonly string[], reading: Reading): void {
  let prefixes = args.map((value) => ({ line: plugin.line, value }));
  let ipv4 = false;
  for (const { line, words } of plugin.block ?? []) {
    const [option, value] = words;
    // The plugin has one prefix; a later one replaces an earlier one.
    if (option === 'prefix' && value !== undefined) prefixes = [{ line, value }];
    else if (option === 'translate_all') reading.carry(line, 'dns.translateAll', true);
    else if (option === 'allow_ipv4') ipv4 = true;
    else reading.lost(line, words.join(' '), 'this option of dns64 is not known', 'see docs/configuration.md');
  }
  if (prefixes.length === 0) prefixes = [{ line: plugin.line, value: '64:ff9b::/96' }];
  for (const { line, value } of prefixes) reading.carry(line, 'prefix', value);
  if (ipv4) return;
  const why = 'without allow_ipv4 only questions over IPv6 are synthesized; gate64 does it for all that may ask';
  reading.aside(plugin.line, plugin.words.join(' '), why, 'dns.allowClients says who may ask');
}

function readForward(plugin: Statement, args: readonly string[], server: string, reading: Reading): void {
  const [from = '', ...to] = args;
  const options = plugin.block ?? [];
  const what = plugin.words.join(' ');
  const everything = from === '.' && server.split(/[\s,]+/).some((key) => /^(?:dns:\/\/)?\.(?::\d+)?$/.test(key));
  if (!everything) {
    reading.aside(plugin.line, what, 'it is for one zone; gate64 is asked for the others', 'leave it in the Corefile');
    return;
  }
  const serverName = options.find(({ words }) => words[0] === 'tls_servername')?.words[1];
  for (const target of to) readTarget(plugin.line, target, serverName, reading);
  for (const { line, words } of options) {
    const shown = words.join(' ');
    if (words[0] === 'tls_servername') continue;
    if (words[0] === 'except') {
      reading.lost(line, shown, 'gate64 asks its upstreams for every name', 'keep these zones from it in the Corefile');
    } else if (words[0] === 'tls' && words.length > 1) {
      const instead = words.length === 2 || words.length === 4 ? `dns.tls.ca: ${words.at(-1) ?? ''}` : '';
      reading.lost(line, shown, 'certificates of a client and authorities are not taken over', instead);
    } else reading.aside(line, shown, 'gate64 sees to its upstreams itself');
  }
}

function readTarget(line: number, target: string, serverName: string | undefined, reading: Reading): void {
  if (target === '/etc/resolv.conf') {
    reading.aside(line, target, 'its nameservers are what gate64 asks unless dns.upstreams is set');
  } else if (target.startsWith('/')) {
    reading.lost(line, target, 'other files of nameservers are not read', 'list its nameservers in dns.upstreams');
  } else if (target.startsWith('tls://')) {
    const name = serverName === undefined || target.includes('#') ? '' : `#${serverName}`;
    reading.carry(line, 'dns.upstreams', target + name);
  } else reading.carry(line, 'dns.upstreams', target.replace(/^dns:\/\//, ''));
}
