// SPDX-License-Identifier: Apache-2.0
// The NixOS module, evaluated by Nix on a stub of nixpkgs: an option for every key, the file that gate64 reads, and the
// unit that systemd has elsewhere too. That package.nix builds is not shown here: nixpkgs is needed for that.

import { join } from 'node:path';
import { expect } from 'chai';
import { configKeys } from '../../src/config/keys.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { run } from '../helpers/processes.ts';
import { ROOT, read } from './repository.ts';

interface Evaluated {
  readonly names: string[];
  readonly file: string;
  readonly serviceConfig: Readonly<Record<string, string>>;
}

const NIX = ['nix-instantiate', '--store', 'dummy://'];

async function evaluate(settings: unknown): Promise<Evaluated> {
  const fixture = join(ROOT, 'test/meta/fixtures/nixos.nix');
  const text = ['--argstr', 'settings', JSON.stringify(settings)];
  const { stdout } = await run([...NIX, '--eval', '--strict', '--json', ...text, fixture]);
  return JSON.parse(stdout) as Evaluated;
}

async function refusal(settings: unknown): Promise<string> {
  return evaluate(settings).then(
    () => '',
    (error: unknown) => String(error),
  );
}

describe('NixOS module', function () {
  this.timeout(20_000);

  it('has an option for every key of the configuration', async () => {
    const { names } = await evaluate({});
    expect(names.toSorted()).to.deep.equal(
      configKeys()
        .map(({ key }) => key)
        .toSorted(),
    );
  });

  it('writes what is set, and nothing else', async () => {
    expect((await evaluate({})).file).to.satisfy((text: string) => {
      expect(parseConfig(text, 'gate64.yaml')).to.deep.equal(parseConfig('', 'gate64.yaml'));
      return true;
    });
    const settings = {
      prefix: '64:ff9b::/96',
      dns: { upstreams: ['192.0.2.53:53'] },
      nat64: { egress: 'direct', blockSize: 128, pool: [{ addresses: '203.0.113.5' }], timeouts: { udp: 301 } },
    };
    const { nat64, dns } = parseConfig((await evaluate(settings)).file, 'gate64.yaml');
    const wanted = parseConfig(JSON.stringify(settings), 'gate64.yaml');
    expect({ nat64, dns }).to.deep.equal({ nat64: wanted.nat64, dns: wanted.dns });
  });

  it('refuses what gate64 would refuse by type, before anything is built', async () => {
    expect(await refusal({ nat64: { egres: 'direct' } })).to.include('no option egres');
    expect(await refusal({ nat64: { egress: 'dirct' } })).to.include('settings.nat64.egress');
    expect(await refusal({ nat64: { lowestIpv6Mtu: 900 } })).to.include('settings.nat64.lowestIpv6Mtu');
  });

  it('runs the service as the systemd unit does', async () => {
    const { serviceConfig } = await evaluate({});
    const service = read('manifests/systemd/gate64.service').split('[Service]')[1]?.split('[Install]')[0] ?? '';
    const unit = Object.fromEntries([...service.matchAll(/^(\w+)=(.*)$/gm)].map(([, key, value]) => [key, value]));
    const places = (text = '') => text.replace('/coreutils', '').replace('/package', '@PREFIX@');
    expect(Object.fromEntries(Object.entries(serviceConfig).map(([key, value]) => [key, places(value)]))).to.deep.equal(
      unit,
    );
  });

  it('has a package that Nix can read', async () => {
    await run(['nix-instantiate', '--parse', join(ROOT, 'manifests/nixos/package.nix')]);
  });
});
