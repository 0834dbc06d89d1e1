// SPDX-License-Identifier: Apache-2.0
// Names where the DNS64 is another process than the NAT64, as in Kubernetes by default: pods ask the one, sessions are the
// other's. The DNS64 keeps nothing on this node (a mount of its own over /run/gate64).

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { GATE64, gate64Config } from '../helpers/gate64.ts';
import { eventually, type Background } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { NODE6, POD } from '../helpers/topology.ts';

interface NamesStatus {
  isOff: boolean;
  following: string[];
  failing: { source: string; reason: string }[];
}

const AT = '127.0.0.1:9165';

describe('names of a DNS64 elsewhere', function () {
  this.timeout(60_000);
  let scene: Scene;
  let namesToken: string;
  let dns: Background;

  before(async () => {
    scene = await Scene.create({ egress: 'masquerade' });
    const { directory } = scene.topology;
    namesToken = join(directory, 'token');
    scene.gate64.write({
      ...gate64Config('masquerade', { dns: { enabled: false } }),
      telemetry: { namesFrom: [AT], namesToken },
    });
    await restart();
    dns = await startDns();
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  async function stop() {
    const { process } = scene.gate64;
    process?.signal('SIGTERM');
    process?.signal('SIGINT');
    await process?.ended;
  }

  async function restart() {
    await stop();
    await scene.gate64.start();
  }

  async function startDns(): Promise<Background> {
    const { directory } = scene.topology;
    const own = join(directory, 'run');
    mkdirSync(own, { recursive: true });
    const file = join(directory, 'dns.yaml');
    writeFileSync(
      file,
      stringify({
        ...gate64Config('masquerade', { dns: { listen: [`[${NODE6}]:5464`] }, nat64: { enabled: false } }),
        http: { listen: AT },
        telemetry: { shareNames: true, namesToken },
      }),
    );
    const script = 'mkdir -p /run/gate64 && mount --bind "$1" /run/gate64 && exec "$2" run -c "$3"';
    const command = ['unshare', '--mount', 'sh', '-c', script, 'sh', own, GATE64, file];
    const started = scene.topology.start('node', command);
    await eventually('the DNS64 answers', async () => ((await dig('v4only.example')) === '' ? undefined : true));
    return started;
  }

  const dig = async (name: string) =>
    (await scene.topology.sh('pod', `dig +short +tries=1 +time=1 @${NODE6} -p 5464 AAAA ${name} | tail -1`)).replace(
      /^;.*/,
      '',
    );
  const status = async () => {
    const { stdout } = await scene.gate64.cli(['status', '-c', scene.gate64.configFile, '-o', 'json'], {
      accept: 'any',
    });
    return (JSON.parse(stdout) as { service: { nat64: { names?: NamesStatus } } }).service.nat64.names;
  };
  const names = async () =>
    (await scene.gate64.json<{ name: string | null; nameGuessed: boolean }[]>('sessions'))
      .map(({ name, nameGuessed }) => `${name ?? '-'}${nameGuessed ? '?' : ''}`)
      .toSorted();
  const named = (expected: string[]) =>
    eventually('sessions have their names', async () =>
      JSON.stringify(await names()) === JSON.stringify(expected) ? true : undefined,
    );

  it('are not taken without a token, which status says', async () => {
    expect(await status()).to.deep.equal({ isOff: true, following: [], failing: [] });
    await scene.download(`http://[${await dig('v4only.example')}]/one`);
    expect(await names()).to.deep.equal(['-']);
    const { stdout } = await scene.gate64.cli(['status', '-c', scene.gate64.configFile, '-o', 'table']);
    expect(stdout).to.match(/names from +nobody: there is no token/);
  });

  it('come once there is one, those told before too, to sessions and top', async () => {
    writeFileSync(namesToken, 'of both\n');
    await named(['v4only.example']);
    expect(await status()).to.deep.equal({ isOff: false, following: [AT], failing: [] });
    const { rows } = await scene.gate64.json<{ rows: { name: string }[] }>('top', '--by', 'names');
    expect(rows.map(({ name }) => name)).to.include('v4only.example');
    expect(await scene.gate64.json<unknown[]>('sessions', '--name', 'V4ONLY.example')).to.have.length(1);
  });

  it('are shown to nobody without it', async () => {
    const ask = (...options: string[]) =>
      scene.topology.run('node', ['curl', '-sS', '-w', '%{http_code}', ...options, `http://${AT}/names`]);
    expect((await ask()).stdout)
      .to.match(/401$/)
      .and.to.not.include('v4only');
    expect((await ask('-H', 'Authorization: Bearer of')).stdout).to.match(/401$/);
    expect((await ask('-H', 'Authorization: Bearer of both')).stdout).to.match(/v4only\.example.*200$/s);
    const { stdout } = await scene.gate64.http('/names');
    expect(stdout, 'by who shares none').to.equal('');
  });

  it('stay while the DNS64 is away, come when it is back, and stay over a restart of the NAT64', async () => {
    await dns.stop();
    await eventually('status says that it is away', async () =>
      (await status())?.failing.length === 1 ? true : undefined,
    );
    expect((await status())?.failing[0]?.reason).to.include('ECONNREFUSED');
    await named(['v4only.example']);
    dns = await startDns();
    await scene.download(`http://[${await dig('other.example')}]/one`);
    await named(['other.example', 'v4only.example']);
    await restart();
    await named(['other.example', 'v4only.example']);
  });

  it('are in the report when the sessions have ended', async () => {
    scene.gate64.write({
      ...gate64Config('masquerade', { dns: { enabled: false }, nat64: { deny: ['198.51.100.0/24'] } }),
      telemetry: { namesFrom: [AT], namesToken },
    });
    scene.gate64.process?.signal('SIGHUP');
    await eventually('the sessions have ended', async () => ((await names()).length === 0 ? true : undefined));
    const report = await eventually('the report has them', async () => {
      const rows = await scene.gate64.json<{ pod: string; name: string | null }[]>('report');
      return rows.length === 2 ? rows : undefined;
    });
    expect(report.map(({ pod, name }) => `${pod} ${name ?? '-'}`).toSorted()).to.deep.equal([
      `${POD} other.example`,
      `${POD} v4only.example`,
    ]);
  });

  it('a token that is another one is said', async () => {
    rmSync(namesToken);
    await eventually('it is off', async () => ((await status())?.isOff === true ? true : undefined));
    await dns.stop();
    writeFileSync(namesToken, 'one');
    const other = join(scene.topology.directory, 'other-token');
    writeFileSync(other, 'another');
    const file = join(scene.topology.directory, 'dns-other.yaml');
    writeFileSync(
      file,
      stringify({
        ...gate64Config('masquerade', { dns: { listen: [`[${NODE6}]:5464`] }, nat64: { enabled: false } }),
        http: { listen: AT },
        telemetry: { shareNames: true, namesToken: other },
      }),
    );
    await using _dns = scene.topology.start('node', [GATE64, 'run', '-c', file]);
    await eventually('status says why', async () =>
      (await status())?.failing[0]?.reason.startsWith('HTTP 401: ') === true ? true : undefined,
    );
    const { stdout } = await scene.gate64.cli(['status', '-c', scene.gate64.configFile, '-o', 'table']);
    expect(stdout).to.match(/names from +nobody\n.*127\.0\.0\.1:9165: HTTP 401: "the token is another one/);
  });
});
