// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { parseIp4, parseIp4Net } from '../../../src/addr/ip.ts';
import { Destinations, destinationRules } from '../../../src/addr/destinations.ts';
import { parsePrefix64, WELL_KNOWN_PREFIX } from '../../../src/addr/rfc6052.ts';

function verdict(
  address: string,
  input: Partial<Record<'allow' | 'allowNode' | 'broadcast' | 'deny' | 'node' | 'nodeNets' | 'pool', string[]>> = {},
): string {
  const rules = destinationRules({
    allowNonGlobalIpv4: (input.allow ?? []).map(parseIp4Net),
    deny: (input.deny ?? []).map(parseIp4Net),
    nodeAddresses: (input.node ?? []).map(parseIp4),
    allowNodeAddresses: (input.allowNode ?? []).map(parseIp4Net),
    broadcastNets: (input.broadcast ?? []).map(parseIp4Net),
    nodeNets: (input.nodeNets ?? []).map(parseIp4Net),
    pool: (input.pool ?? []).map(parseIp4Net),
  });
  return new Destinations(rules).ruleOf(parseIp4(address))?.verdict ?? 'allow';
}

describe('addr/destinations', () => {
  it('X7915-8-a: loopback, this network, link-local with cloud metadata, multicast and reserved are never reached', () => {
    for (const address of [
      '0.0.0.1',
      '127.0.0.1',
      '169.254.169.254',
      '224.0.0.1',
      '239.255.255.250',
      '240.0.0.1',
      '255.255.255.255',
    ]) {
      expect(verdict(address), address).to.equal('never');
    }
    expect(verdict('9.9.9.9')).to.equal('allow');
  });

  it('nothing of a network that the node takes for local is reached, whatever is allowed in it', () => {
    const input = { nodeNets: ['198.51.100.0/24', '9.9.9.255'], allow: ['198.51.100.7', '198.51.0.0/16'] };
    for (const address of ['198.51.100.0', '198.51.100.7', '9.9.9.255']) {
      expect(verdict(address, input), address).to.equal('node');
    }
    expect(verdict('198.51.101.7', input)).to.equal('allow');
    expect(verdict('10.0.0.1', { nodeNets: ['10.0.0.0/7'] }), 'one that is built in').to.equal('node');
    expect(verdict('8.8.8.8', { nodeNets: ['8.0.0.0/8'], deny: ['8.8.8.0/24'] })).to.equal('configured');
  });

  it('A6052-3.1-b: what is not global is marked, for the well-known prefix to refuse', () => {
    for (const address of [
      '10.0.0.1',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.1.1',
      '100.64.0.1',
      '198.18.0.1',
      '192.0.2.1',
      '198.51.100.1',
      '203.0.113.1',
      '192.0.0.9',
    ]) {
      expect(verdict(address), address).to.equal('nonGlobal');
    }
    expect(verdict('172.32.0.1')).to.equal('allow');
    expect(verdict('100.128.0.1')).to.equal('allow');
  });

  it('the node and the pool are not reached, whatever is allowed', () => {
    const input = {
      node: ['203.0.113.2'],
      allow: ['203.0.113.0/24', '203.0.113.2/32', '192.0.0.0/29'],
      pool: ['192.0.0.0/29'],
    };
    expect(verdict('203.0.113.2', input)).to.equal('node');
    expect(verdict('203.0.113.3', input)).to.equal('allow');
    expect(verdict('192.0.0.5', input)).to.equal('node');
  });

  it('addresses of the node that are allowed by name are reached, and no other of it', () => {
    const input = {
      node: ['203.0.113.2', '203.0.113.3', '9.9.9.9', '169.254.1.1'],
      nodeNets: ['8.8.0.0/16', '203.0.113.3'],
      broadcast: ['203.0.113.255'],
      pool: ['192.0.0.0/29'],
    };
    const allowed = (allowNode: string[], deny: string[] = []) =>
      [
        '203.0.113.2',
        '203.0.113.3',
        '203.0.113.255',
        '9.9.9.9',
        '8.8.1.1',
        '8.8.2.2',
        '192.0.0.5',
        '169.254.1.1',
      ].filter((address) => verdict(address, { ...input, allowNode, deny }) === 'allow');
    expect(allowed([])).to.deep.equal([]);
    expect(allowed(['203.0.113.3'])).to.deep.equal(['203.0.113.3']);
    expect(allowed(['203.0.113.0/24'])).to.deep.equal(['203.0.113.2', '203.0.113.3']);
    expect(allowed(['203.0.113.0/24'], ['203.0.113.2'])).to.deep.equal(['203.0.113.3']);
    expect(allowed(['203.0.113.2'], ['203.0.113.0/24']), 'the longest decides').to.deep.equal(['203.0.113.2']);
    expect(allowed(['203.0.113.2'], ['203.0.113.2']), 'deny wins a tie').to.deep.equal([]);
    expect(allowed(['8.8.2.0/24']), 'a part of a local network').to.deep.equal(['8.8.2.2']);
    expect(allowed(['0.0.0.0/0'])).to.deep.equal(['203.0.113.2', '203.0.113.3', '9.9.9.9', '8.8.1.1', '8.8.2.2']);
    expect(allowed(['169.254.1.1', '192.0.0.0/24'])).to.deep.equal(['169.254.1.1']);
    expect(verdict('10.0.0.1', { allowNode: ['10.0.0.0/8'] }), 'not the node’s').to.equal('nonGlobal');
    expect(verdict('8.8.8.8', { ...input, allowNode: ['8.8.0.0/16'], deny: ['8.8.8.0/24'] })).to.equal('configured');
  });

  it('A6052-5.3-a: nat64.deny refuses embedded addresses; the longest network decides, deny wins a tie', () => {
    expect(verdict('8.8.8.8', { deny: ['8.8.8.0/24'] })).to.equal('configured');
    expect(verdict('8.8.9.8', { deny: ['8.8.8.0/24'] })).to.equal('allow');
    expect(verdict('10.1.2.3', { allow: ['10.0.0.0/8'] })).to.equal('allow');
    expect(verdict('10.1.2.3', { allow: ['10.0.0.0/8'], deny: ['10.1.0.0/16'] })).to.equal('configured');
    expect(verdict('10.1.2.3', { allow: ['10.1.2.0/24'], deny: ['10.1.0.0/16'] })).to.equal('allow');
    expect(verdict('10.1.2.3', { allow: ['10.1.0.0/16'], deny: ['10.1.0.0/16'] })).to.equal('configured');
  });

  it('A6052-5.3-a: a wide deny or allow is not hidden by a built-in network inside it', () => {
    // 'nonGlobal' would let 10.1.2.3 pass under a prefix of the network's own, against the operator's word.
    expect(verdict('10.1.2.3', { deny: ['0.0.0.0/0'] })).to.equal('configured');
    expect(verdict('8.8.8.8', { deny: ['0.0.0.0/0'] })).to.equal('configured');
    expect(verdict('10.1.2.3', { deny: ['0.0.0.0/0'], allow: ['10.0.0.0/8'] })).to.equal('allow');
    expect(verdict('192.168.1.1', { allow: ['0.0.0.0/0'] })).to.equal('allow');
    expect(verdict('10.1.2.3', { deny: ['10.0.0.0/7'], allow: ['8.0.0.0/6'] })).to.equal('configured');
  });

  it('a wide allow does not open what is never reached; only its own network or a part of it does', () => {
    expect(verdict('169.254.169.254', { allow: ['0.0.0.0/0'] })).to.equal('never');
    expect(verdict('169.254.20.10', { allow: ['169.254.20.10/32'] })).to.equal('allow');
    expect(verdict('169.254.169.254', { allow: ['169.254.20.10/32'] })).to.equal('never');
  });

  it('A6052-3.1-b: what is not global is refused under the well-known prefix alone, the rest under every prefix', () => {
    const destinations = new Destinations(
      destinationRules({
        allowNonGlobalIpv4: [],
        deny: [parseIp4Net('8.8.8.0/24')],
        nodeAddresses: [parseIp4('9.9.9.9')],
        pool: [],
      }),
    );
    const refused = (address: string, prefix: string) =>
      destinations.refusal(parseIp4(address), parsePrefix64(prefix))?.verdict;
    expect(destinations.refusal(parseIp4('10.0.0.1'), WELL_KNOWN_PREFIX)?.verdict).to.equal('nonGlobal');
    expect(refused('10.0.0.1', '2001:db8:64::/96')).to.equal(undefined);
    for (const prefix of ['64:ff9b::/96', '2001:db8:64::/96']) {
      expect(refused('127.0.0.1', prefix)).to.equal('never');
      expect(refused('8.8.8.8', prefix)).to.equal('configured');
      expect(refused('9.9.9.9', prefix)).to.equal('node');
      expect(refused('8.8.4.4', prefix)).to.equal(undefined);
    }
  });

  it('has one rule per network', () => {
    const nets = destinationRules({
      allowNonGlobalIpv4: [parseIp4Net('10.0.0.0/8')],
      deny: [parseIp4Net('10.0.0.0/8')],
      nodeAddresses: [],
      pool: [],
    }).map(({ net }) => `${net.v4}/${net.length}`);
    expect(new Set(nets).size).to.equal(nets.length);
  });
});
