// SPDX-License-Identifier: Apache-2.0
// The commands of the host: each is looked for at the start, and no other is run.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { COMMANDS, missingCommand, type CommandName, type Exec } from '../../../src/host/exec.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { preflight } from '../../../src/host/preflight.ts';

const NAMES = Object.keys(COMMANDS) as CommandName[];
const SOURCES = join(import.meta.dirname, '../../../src');

/** What preflight() finds of commands; the rest is the machine's, on which this runs. */
async function commandFindings(exec: Exec) {
  return (await preflight(exec)).filter(({ name }) => name === 'command-missing');
}
const there: Exec = () => Promise.resolve({ exit: 0, stdout: '', stderr: '' });

describe('host/preflight', () => {
  it('tries every command, in a way that changes nothing', async () => {
    const tried: string[] = [];
    const exec: Exec = (command, args, input) => {
      expect(input).to.equal(undefined);
      tried.push([command, ...args].join(' '));
      return there(command, args);
    };
    expect(await commandFindings(exec)).to.deep.equal([]);
    expect(tried).to.have.members(['ip -V', 'ss -V', 'tc -V', 'nft -v', 'setpriv --version']);
  });

  for (const name of NAMES) {
    it(`says which package brings ${name} where it alone is missing`, async () => {
      const cause = Object.assign(new Error(`spawn ${name} ENOENT`), { code: 'ENOENT' });
      const exec: Exec = (command, args) =>
        command === name ? Promise.reject(missingCommand(command, cause)) : there(command, args);
      expect(await commandFindings(exec)).to.deep.equal([
        {
          name: 'command-missing',
          severity: 'error',
          message: `the command "${name}" is not installed, and gate64 needs it`,
          remedy: `Install the package ${COMMANDS[name].package}. On Debian and Ubuntu: apt-get install -y ${COMMANDS[name].package}`,
          command: `apt-get install -y ${COMMANDS[name].package}`,
        },
      ]);
    });
  }

  it('names all that are missing, and why one that is there cannot be run', async () => {
    const exec: Exec = (command) =>
      Promise.reject(new Gate64Error('G64_HOST_COMMAND', `the command "${command}" cannot be run: EACCES`));
    expect((await commandFindings(exec)).map(({ message }) => message)).to.deep.equal(
      NAMES.map((name) => `the command "${name}" cannot be run: EACCES`),
    );
  });

  it('does not take a fault of its own for a missing command', async () => {
    const error = await preflight(() => Promise.reject(new TypeError('a fault'))).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(TypeError);
  });
});

describe('host: commands that are run', () => {
  const files = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const text = (name: string) => readFileSync(join(SOURCES, name), 'utf8');

  it('are those of the list, each of which is', () => {
    const calls = /\b(?:exec|run|spawn|ipRows)\(\s*(?:exec,\s*)?'([^']+)'|^\s*\['([a-z]+)', \['monitor'/gm;
    const commands = files.flatMap((name) =>
      [...text(name).matchAll(calls)].map(([, call, monitor]) => call ?? monitor),
    );
    expect([...new Set(commands)]).to.have.members(NAMES);
  });

  it('are started in two places, which know them by the list’s names; no shell is', () => {
    const starting = files.filter((name) => /\bnode:child_process\b/.test(text(name)));
    // What the probe of `trace --live` starts, the service never needs.
    const probe = 'host/probe.ts';
    // gate64's own program, by the Node.js that runs it.
    const worker = 'dns/worker-process.ts';
    expect(starting.toSorted()).to.deep.equal([worker, 'host/exec.ts', probe, 'host/watch.ts']);
    expect(text(worker)).to.match(/import \{ fork, type ChildProcess \} from 'node:child_process'/);
    expect(text(probe)).not.to.match(/\bshell:/);
    for (const name of starting.filter((other) => ![probe, worker].includes(other))) {
      expect(text(name).match(/\bspawn\([^,]+/g), name).to.have.length(1);
      expect(text(name), name).to.match(/\bCommandName\b/);
      expect(text(name), name).to.match(/import \{ spawn(?:, type \w+)? \} from 'node:child_process'/);
      expect(text(name), name).not.to.match(/\bshell:/);
    }
  });
});
