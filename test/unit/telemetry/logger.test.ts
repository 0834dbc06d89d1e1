// SPDX-License-Identifier: Apache-2.0
// What log lines look like, for machines and for people.

import { expect } from 'chai';
import { Gate64Error } from '../../../src/errors.ts';
import { formatTextLine } from '../../../src/telemetry/log-text.ts';
import { createLogger, silentLogger, type LoggerOptions } from '../../../src/telemetry/logger.ts';

function logging(options: Partial<LoggerOptions>) {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  return { lines, log: createLogger({ level: 'info', format: 'json', destination, ...options }) };
}

/** A text line without its time. */
const untimed = (line: string | undefined) => line?.replace(/^\S+ /, '');

describe('log', () => {
  it('json: one object a line, ISO time, level in words', () => {
    const { lines, log } = logging({});
    log.child({ component: 'dns' }).info({ port: 5364 }, 'listening');
    expect(lines).to.have.length(1);
    expect(lines[0]?.endsWith('\n')).to.equal(true);
    const { time, ...rest } = JSON.parse(lines[0] ?? '');
    expect(rest).to.deep.equal({ level: 'info', component: 'dns', port: 5364, msg: 'listening' });
    expect(new Date(time).toISOString()).to.equal(time);
  });

  it('json: an error keeps its code, its hint and its cause', () => {
    const { lines, log } = logging({});
    const err = new Gate64Error('G64_LISTEN', 'no port', { cause: new Error('EADDRINUSE'), hint: 'free it' });
    log.error({ err }, 'cannot listen');
    const { err: written } = JSON.parse(lines[0] ?? '');
    expect(written).to.deep.include({ code: 'G64_LISTEN', hint: 'free it', message: 'no port' });
    expect(written.cause.message).to.equal('EADDRINUSE');
  });

  it('text: time, level, component, message, fields', () => {
    const { lines, log } = logging({ format: 'text' });
    log.child({ component: 'nat64' }).warn({ pod: '2001:db8::5', blocks: 8, why: 'a b' }, 'quota reached');
    expect(untimed(lines[0])).to.equal('WARN  nat64: quota reached pod=2001:db8::5 blocks=8 why="a b"\n');
  });

  it('text: errors without stacks, unless the level is debug', () => {
    const err = new Gate64Error('G64_LISTEN', 'no port', { hint: 'free it' });
    const usual = logging({ format: 'text' });
    usual.log.error({ err }, 'cannot listen');
    expect(untimed(usual.lines[0])).to.equal('ERROR cannot listen error="no port" code=G64_LISTEN hint="free it"\n');
    const debugging = logging({ format: 'text', level: 'debug' });
    debugging.log.error({ err }, 'cannot listen');
    expect(debugging.lines[0]).to.match(/hint="free it"\nGate64Error: no port\n +at /);
  });

  it('text: a value cannot forge a line', () => {
    const { lines, log } = logging({ format: 'text' });
    log.info({ name: 'a\n2026 ERROR b\u001b[31m' }, 'first\nsecond');
    expect(lines).to.have.length(1);
    expect(untimed(lines[0])).to.equal('INFO  first\\nsecond name="a\\n2026 ERROR b\\u001b[31m"\n');
  });

  it('text: fields of any kind stay on the line', () => {
    const line = formatTextLine(
      JSON.stringify({ time: 't', level: 'info', msg: 'm', list: [1, 2], none: null, yes: true }),
      false,
    );
    expect(line).to.equal('t INFO  m list=[1,2] none=null yes=true');
  });

  it('auto: text on a terminal, json elsewhere', () => {
    for (const [isTerminal, pattern] of [
      [true, /^\S+ INFO {2}hello\n$/],
      [false, /^\{"level":"info"/],
    ] as const) {
      const { lines, log } = logging({ format: 'auto', isTerminal });
      log.info('hello');
      expect(lines[0]).to.match(pattern);
    }
  });

  it('leaves out what is below the level', () => {
    const { lines, log } = logging({ level: 'warn' });
    log.info('no');
    log.warn('yes');
    expect(lines).to.have.length(1);
    log.level = 'info';
    log.info('yes');
    expect(lines).to.have.length(2);
    expect(silentLogger().isLevelEnabled('fatal')).to.equal(false);
  });
});
