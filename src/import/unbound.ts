// SPDX-License-Identifier: Apache-2.0
// unbound.conf: DNS64 of the server clause and the forward-zone for ".". gate64 forwards: it neither resolves from the
// root, nor validates, nor has zones.

import { Reading } from './reading.ts';

interface Attribute {
  readonly line: number;
  readonly name: string;
  readonly value: string;
}

interface Clause extends Attribute {
  readonly attributes: Attribute[];
}

const MATTERS =
  /^(?:stub-zone|auth-zone|local-zone|local-data|local-data-ptr|rpz|view|domain-insecure|private-domain)$/;
const KEEP = 'keep unbound without dns64, and name it in dns.upstreams';

function clauses(text: string): Clause[] {
  const found: Clause[] = [{ line: 1, name: 'server', value: '', attributes: [] }];
  for (const [index, row] of text.split('\n').entries()) {
    const match = /^([A-Za-z][A-Za-z0-9-]*):(.*)$/.exec(row.trim());
    if (match === null) continue;
    const attribute = { line: index + 1, name: (match[1] ?? '').toLowerCase(), value: valueOf(match[2] ?? '') };
    const include = attribute.name.startsWith('include');
    if (attribute.value === '' && !include) found.push({ ...attribute, attributes: [] });
    else found.at(-1)?.attributes.push(attribute);
  }
  return found;
}

/** Without quotes and without a comment; a "#" within a word is a certificate's name. */
function valueOf(text: string): string {
  const trimmed = text.trim();
  const quoted = /^"([^"]*)"|^'([^']*)'/.exec(trimmed);
  return quoted?.[1] ?? quoted?.[2] ?? trimmed.replace(/(?:^|\s)#.*$/, '').trim();
}

export function readUnbound(text: string): Reading {
  const reading = new Reading();
  let forwards = false;
  for (const clause of clauses(text)) {
    if (clause.name === 'server') readServer(clause.attributes, reading);
    else if (clause.name === 'forward-zone') forwards = readForwardZone(clause, reading) || forwards;
    else {
      const what = `${clause.name}:`;
      if (MATTERS.test(clause.name)) reading.lost(clause.line, what, 'gate64 has no zones', KEEP);
      else reading.aside(clause.line, what, "it is unbound's own");
      readIncludes(clause.attributes, reading);
    }
  }
  if (!forwards) {
    const why = 'unbound resolves from the root; gate64 asks resolvers, by default those of /etc/resolv.conf';
    reading.lost(1, 'no forward-zone for "."', why, `dns.upstreams; or ${KEEP}`);
  }
  return reading;
}

function readIncludes(attributes: readonly Attribute[], reading: Reading): void {
  for (const { line, name, value } of attributes)
    if (name.startsWith('include')) notFollowed(line, name, value, reading);
}

function notFollowed(line: number, name: string, value: string, reading: Reading): void {
  const why = 'included files are not followed';
  reading.lost(line, `${name}: ${value}`, why, 'name the file as another FILE, if it matters to DNS64');
}

function readServer(attributes: readonly Attribute[], reading: Reading): void {
  for (const { line, name, value } of attributes) {
    const what = `${name}: ${value}`;
    if (name === 'dns64-prefix') reading.carry(line, 'prefix', value);
    else if (name === 'dns64-synthall') {
      if (value === 'yes') reading.carry(line, 'dns.translateAll', true);
    } else if (name === 'module-config') readModules(line, what, value.split(/\s+/), reading);
    else if (name === 'tls-cert-bundle') reading.carry(line, 'dns.tls.ca', value);
    else if (name === 'access-control') readAccess(line, what, value, reading);
    else if (name === 'dns64-ignore-aaaa') {
      const instead = 'dns.translateAll for all names, or dns.excludeAaaa for the networks of its addresses';
      reading.lost(line, what, 'gate64 cannot ignore the AAAA records of single names', instead);
    } else if (name.startsWith('include')) notFollowed(line, name, value, reading);
    else if (name === 'tls-upstream' || name === 'ssl-upstream') {
      if (value === 'yes')
        reading.lost(line, what, 'it is taken from the forward-zone alone', 'write tls:// in dns.upstreams');
    } else if (MATTERS.test(name)) reading.lost(line, what, 'gate64 has no zones', KEEP);
    else if (name === 'interface' || name === 'port') {
      reading.aside(line, what, 'unbound may still have it', 'dns.listen');
    } else reading.aside(line, what, "it is unbound's own");
  }
}

function readModules(line: number, what: string, modules: readonly string[], reading: Reading): void {
  if (!modules.includes('dns64')) {
    reading.lost(line, what, 'without dns64 unbound did not synthesize; gate64 does', 'look whether that is meant');
  }
  if (modules.includes('validator')) {
    reading.lost(line, what, 'gate64 does not validate (DNSSEC)', 'have upstreams that validate');
  }
  const others = modules.filter((module) => !['dns64', 'validator', 'iterator'].includes(module));
  if (others.length > 0) reading.lost(line, what, 'gate64 has no such modules', KEEP);
}

function readAccess(line: number, what: string, value: string, reading: Reading): void {
  const [net = '', action = ''] = value.split(/\s+/);
  if (/^allow(?:_snoop)?$/.test(action)) reading.carry(line, 'dns.allowClients', net);
  else reading.lost(line, what, 'gate64 lists who may ask, nobody else may', 'dns.allowClients');
}

/** Whether it is the one for ".". */
function readForwardZone(clause: Clause, reading: Reading): boolean {
  const { attributes, line } = clause;
  const zone = attributes.find(({ name }) => name === 'name')?.value ?? '';
  if (zone !== '.') {
    const why = 'gate64 asks the same upstreams for every name';
    reading.lost(
      line,
      `forward-zone: ${zone}`,
      why,
      'a resolver that knows the zone in dns.upstreams, or in front of gate64',
    );
    readIncludes(attributes, reading);
    return false;
  }
  const tls = attributes.some(({ name, value }) => /^forward-(?:tls|ssl)-upstream$/.test(name) && value === 'yes');
  for (const { line: at, name, value } of attributes) {
    const what = `${name}: ${value}`;
    if (/^(?:name|forward-(?:tls|ssl)-upstream)$/.test(name)) continue;
    if (name === 'forward-addr') reading.carry(at, 'dns.upstreams', upstream(value, tls));
    else if (name === 'forward-host') {
      reading.lost(at, what, 'gate64 takes addresses of resolvers, no names', 'its addresses in dns.upstreams');
    } else if (name === 'forward-first' && value === 'yes') {
      reading.lost(at, what, 'gate64 does not resolve from the root when the upstreams fail', KEEP);
    } else if (name.startsWith('include')) notFollowed(at, name, value, reading);
    else reading.aside(at, what, 'gate64 sees to its upstreams itself');
  }
  return attributes.some(({ name }) => name === 'forward-addr' || name === 'forward-host');
}

/** "192.0.2.53@853#dns.example" as gate64 writes it. */
function upstream(value: string, tls: boolean): string {
  const [address = '', name] = value.split('#', 2);
  const [host = '', port] = address.split('@', 2);
  const place = port === undefined ? host : `${host.includes(':') ? `[${host}]` : host}:${port}`;
  if (!tls) return place;
  return `tls://${place}${name === undefined ? '' : `#${name}`}`;
}
