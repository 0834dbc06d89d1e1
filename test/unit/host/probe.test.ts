// SPDX-License-Identifier: Apache-2.0
// A probe on a node that lacks the commands it runs. What it sends: test/netns.

import { expect } from 'chai';
import { Gate64Error } from '../../../src/errors.ts';
import { probe, type ProbeRequest } from '../../../src/host/probe.ts';

const REQUEST: ProbeRequest = {
  protocol: 'icmp',
  source: '::1',
  destination: '::1',
  port: 0,
  timeoutMs: 1000,
  netns: undefined,
};

describe('probe', () => {
  const path = process.env['PATH'];
  beforeEach(() => {
    process.env['PATH'] = '/nowhere';
  });
  afterEach(() => {
    process.env['PATH'] = path;
  });

  const missing: [string, string, Partial<ProbeRequest>][] = [
    ['ping', 'iputils-ping', {}],
    ['nsenter', 'util-linux', { protocol: 'udp', port: 9, netns: String(process.pid) }],
  ];
  for (const [command, packageName, changes] of missing) {
    it(`says that ${command} is missing and what brings it`, async () => {
      const error = await probe({ ...REQUEST, ...changes }, () => Promise.resolve()).catch((cause: unknown) => cause);
      expect(error).to.be.instanceOf(Gate64Error);
      const { code, message, hint } = error as Gate64Error;
      expect(code).to.equal('G64_HOST_COMMAND');
      expect(message).to.contain(`"${command}" is not installed`);
      expect(hint).to.contain(packageName);
    });
  }
});
