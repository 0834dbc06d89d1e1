// SPDX-License-Identifier: Apache-2.0
// Commands on a node that works while its configuration file has become wrong.

import { expect } from 'chai';
import { formatEndpoint, type Endpoint } from '../../../src/addr/ip.ts';
import type { CliContext } from '../../../src/cli/context.ts';
import { AcceptedFile } from '../../../src/config/accepted.ts';
import type { Config } from '../../../src/config/config.ts';
import { cli, serviceStatus, withFile } from './helper.ts';

describe('a configuration file that has become wrong', () => {
  const WRONG = 'nonsense: 1\n';
  const PROBLEM = /^\/.*gate64\.yaml:1:1: .*nonsense.*\n$/;
  /** Runs with a wrong file, beside which `before` was accepted. */
  const withWrong = (before: string | undefined, args: readonly string[], context: Partial<CliContext>) =>
    withFile(WRONG, async (file) => {
      const accepted = new AcceptedFile(`${file}.accepted`);
      if (before !== undefined) accepted.write(file, before);
      return cli([...args, '-c', file], { context: { ...context, accepted } });
    });

  it('does not hide the service: asked where the accepted one, else the defaults have it, and exit code 1', async () => {
    for (const [before, at] of [
      ['http: { listen: "127.0.0.1:9999" }\n', '127.0.0.1:9999'],
      [undefined, '127.0.0.1:9164'],
    ] as const) {
      const asked: string[] = [];
      const fetchStatus = (listen: Endpoint) => Promise.resolve((asked.push(formatEndpoint(listen)), serviceStatus()));
      const table = await withWrong(before, ['status', '-o', 'table'], { fetchStatus });
      expect([table.code, asked]).to.deep.equal([1, [at]]);
      expect(table.stdout).to.match(/^service +up for 1m30s/);
      expect(table.stderr).to.match(PROBLEM);
      const json = await withWrong(before, ['status'], { fetchStatus });
      expect(JSON.parse(json.stdout))
        .to.have.property('configProblem')
        .that.matches(/gate64\.yaml:1:1: /);
    }
  });

  it('is a finding of doctor, which looks at the node by the accepted one alone', async () => {
    const examined: string[] = [];
    const examine = ({ nat64 }: Config) =>
      Promise.resolve((examined.push(nat64.device), { findings: [], unseen: undefined }));
    const known = await withWrong('nat64: { device: nat6 }\n', ['doctor', '-o', 'table'], { examine });
    expect([known.code, examined]).to.deep.equal([1, ['nat6']]);
    expect(known.stdout).to.match(/^error: configuration-refused: \/.*gate64\.yaml:1:1: /);
    const unknown = await withWrong(undefined, ['doctor', '-o', 'table'], { examine });
    expect([unknown.code, examined]).to.deep.equal([1, ['nat6']]);
    expect(unknown.stdout).to.include('configuration-refused').and.to.include('the node was not looked at: ');
    expect(unknown.stdout).to.include('no service runs');
  });

  it('does not keep uninstall from its work', async () => {
    const devices: string[] = [];
    const uninstall = ({ nat64 }: Config) => Promise.resolve((devices.push(nat64.device), []));
    for (const before of ['nat64: { device: nat6 }\n', undefined]) {
      const result = await withWrong(before, ['uninstall'], { uninstall });
      expect([result.code, result.stdout]).to.deep.equal([0, 'nothing of gate64 was on this node\n']);
      expect(result.stderr).to.match(PROBLEM);
    }
    expect(devices).to.deep.equal(['nat6', 'gate64']);
  });

  it('addr answers by the accepted one, and not by a guess', async () => {
    const known = await withWrong('prefix: 2001:db8:64::/96\n', ['addr', '192.0.2.1'], {});
    expect([known.code, known.stdout.includes('2001:db8:64::c000:201')]).to.deep.equal([1, true]);
    const unknown = await withWrong(undefined, ['addr', '192.0.2.1'], {});
    expect([unknown.code, unknown.stdout]).to.deep.equal([1, '']);
    for (const { stderr } of [known, unknown]) expect(stderr).to.match(PROBLEM);
  });
});

describe('a service that was started with a file of another name', () => {
  /** Which address `status` asks without -c, after `text` was accepted. The machine must have no /etc/gate64. */
  async function asked(text: string): Promise<string | undefined> {
    return withFile(text, async (file) => {
      const accepted = new AcceptedFile(`${file}.accepted`);
      accepted.write(file, text);
      let at: string | undefined;
      const fetchStatus = (listen: Endpoint) => {
        at = formatEndpoint(listen);
        return Promise.resolve(serviceStatus());
      };
      await cli(['status'], { context: { accepted, fetchStatus } });
      return at;
    });
  }

  it('is what commands look at', async () => {
    expect(await asked('http: { listen: "127.0.0.1:9999" }\n')).to.equal('127.0.0.1:9999');
  });

  it('is not taken for the NAT64 when it does DNS alone, nor when it is wrong by now', async () => {
    const dnsAlone = 'nat64: { enabled: false }\nhttp: { listen: "127.0.0.1:9999" }\n';
    expect([await asked(dnsAlone), await asked('nonsense: 1\n')]).to.deep.equal(['127.0.0.1:9164', '127.0.0.1:9164']);
  });
});
