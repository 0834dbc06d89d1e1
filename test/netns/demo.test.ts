// SPDX-License-Identifier: Apache-2.0
// The demo works twice in a row, and leaves nothing behind however it is ended.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually, run } from '../helpers/processes.ts';

const demo = join(import.meta.dirname, '../demo/demo.ts');

/** A user's call comes from outside the sandbox, which the demo then makes for itself. */
const outside = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'GATE64_SANDBOX'));

/** All that a demo could leave: processes, network namespaces, devices, rules, pins, files. */
async function whatIsThere(): Promise<Record<string, unknown>> {
  const command = async (line: string) => (await run(['sh', '-c', line])).stdout;
  return {
    processes: readdirSync('/proc').filter((name) => /^\d+$/.test(name) && !isIdleOrGone(name)).length,
    links: await command('ip -br link show'),
    netns: await command('ip netns list'),
    routes: await command('ip route show table all; ip -6 route show table all'),
    rules: await command('ip rule; ip -6 rule; nft list ruleset'),
    pins: readdirSync('/sys/fs/bpf'),
    scratch: readdirSync(process.env['TMPDIR'] ?? '/tmp').toSorted(),
    state: existsSync('/run/gate64'),
  };
}

/** Zombies wait for their parent; what looks at this list is part of it for a moment. */
function isIdleOrGone(pid: string): boolean {
  try {
    return / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/\(.*\)/, ''));
  } catch {
    return true;
  }
}

describe('demo', function () {
  this.timeout(60_000);

  for (const egress of ['masquerade', 'direct']) {
    it(`ends in a table that says what was shown (${egress})`, async () => {
      const before = await whatIsThere();
      const child = spawn(process.execPath, [demo, egress], { env: outside(), stdio: ['ignore', 'pipe', 'pipe'] });
      let text = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (chunk) => (text += chunk));
      const [code] = (await once(child, 'close')) as [number];
      expect(code, text).to.equal(0);
      const table = text.slice(text.indexOf('┌'), text.indexOf('└'));
      expect(table).to.match(/name asked +│ files\.example/);
      expect(table).to.match(/synthesized address +│ 64:ff9b::c633:640a/);
      expect(table).to.match(/bytes fetched +│ 67108864, the same SHA-256/);
      expect(table).to.match(/ping +│ 3 of 3/);
      expect(table).to.match(/UDP echo +│ 1400 of 1400/);
      expect(table).to.match(/refused +│ 64:ff9b::169\.254\.169\.254: dst_never/);
      expect(text)
        .to.match(/gate64 sessions\n +PROTO/)
        .and.to.match(/removed: device gate64/);
      expect(text).to.include('To stop and remove gate64');
      expect(await whatIsThere()).to.deep.equal(before);
    });
  }

  for (const [signal, moment] of [
    ['SIGINT', 'Four network namespaces'],
    ['SIGINT', 'gate64 run -c'],
    ['SIGTERM', 'It fetches a file'],
    ['SIGKILL', 'Ping and UDP'],
  ] as const) {
    it(`${signal} at "${moment}" leaves nothing`, async () => {
      const before = await whatIsThere();
      const child = spawn(process.execPath, [demo], { env: outside(), stdio: ['ignore', 'pipe', 'ignore'] });
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk));
      await eventually(`the demo says "${moment}"`, () => (text.includes(moment) ? true : undefined), 20_000, 5);
      child.kill(signal);
      const [code, by] = (await once(child, 'exit')) as [number | null, string | null];
      expect(code === 0, `${code} ${by}`).to.equal(false);
      await eventually('all of it is gone', async () => {
        expect(await whatIsThere()).to.deep.equal(before);
        return true;
      });
    });
  }
});
