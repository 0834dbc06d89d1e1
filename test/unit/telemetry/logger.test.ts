// SPDX-License-Identifier: Apache-2.0
// What log lines look like, for machines and for people.

import { expect } from 'chai';
import { Gate64Error } from '../../../src/errors.ts';
import { formatTextLine } from '../../../src/telemetry/log-text.ts';
import { Logger, type LoggerOptions } from '../../../src/telemetry/logger.ts';

function logging(options: Partial<LoggerOptions>) {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  return { lines, log: new Logger({ level: 'info', format: 'json', destination, ...options }) };
}

/** A text line without its time. */
const untimed = (line: string | undefined) => line?.replace(/^\S+ /, '');

describe('log', () => {
  it('json: one object a line, ISO time, level in words', () => {
    const { lines, log } = logging({});
    log.info({ port: 5364 }, 'listening');
    expect(lines).to.have.length(1);
    expect(lines[0]?.endsWith('\n')).to.equal(true);
    const { time, ...rest } = JSON.parse(lines[0] ?? '');
    expect(rest).to.deep.equal({ level: 'info', port: 5364, msg: 'listening' });
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

  it('text: time, level, message, fields', () => {
    const { lines, log } = logging({ format: 'text' });
    log.warn({ pod: '2001:db8::5', blocks: 8, why: 'a b' }, 'quota reached');
    expect(untimed(lines[0])).to.equal('WARN  quota reached pod=2001:db8::5 blocks=8 why="a b"\n');
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
      log.info({}, 'hello');
      expect(lines[0]).to.match(pattern);
    }
  });

  it('leaves out what is below the level', () => {
    const { lines, log } = logging({ level: 'warn' });
    log.debug({}, 'no');
    log.info({}, 'no');
    log.warn({}, 'yes');
    log.error({}, 'yes');
    expect(lines).to.have.length(2);
  });

  it('another level holds from the next line on, for errors’ stacks too', () => {
    const { lines, log } = logging({ level: 'info' });
    const err = new Gate64Error('G64_LISTEN', 'no port');
    const stackOf = () => {
      log.error({ err }, 'cannot listen');
      return JSON.parse(lines.at(-1) ?? '').err.stack;
    };
    log.debug({}, 'no');
    expect(stackOf()).to.equal(undefined);
    log.configure({ level: 'debug', format: 'json' });
    log.debug({}, 'yes');
    expect(stackOf()).to.match(/^Gate64Error: no port\n +at /);
    log.configure({ level: 'error', format: 'json' });
    log.warn({}, 'no');
    expect(stackOf()).to.equal(undefined);
    expect(lines.map((line) => JSON.parse(line).msg)).to.deep.equal([
      'cannot listen',
      'yes',
      'cannot listen',
      'cannot listen',
    ]);
  });

  it('another format holds from the next line on, for errors’ stacks too', () => {
    const { lines, log } = logging({ format: 'json', isTerminal: true });
    const err = new Gate64Error('G64_LISTEN', 'no port');
    log.error({ err }, 'one');
    log.configure({ level: 'info', format: 'text' });
    log.error({ err }, 'two');
    log.configure({ level: 'debug', format: 'text' });
    log.error({ err }, 'three');
    log.configure({ level: 'info', format: 'json' });
    log.error({ err }, 'four');
    log.configure({ level: 'info', format: 'auto' });
    log.error({ err }, 'five');
    expect(lines).to.have.length(5);
    expect(JSON.parse(lines[0] ?? '')).to.deep.include({ level: 'error', msg: 'one' });
    expect(untimed(lines[1])).to.equal('ERROR two error="no port" code=G64_LISTEN\n');
    expect(untimed(lines[2])).to.match(/^ERROR three error="no port" code=G64_LISTEN\nGate64Error: no port\n +at /);
    expect(JSON.parse(lines[3] ?? '')).to.deep.include({ level: 'error', msg: 'four' });
    expect(untimed(lines[4])).to.equal('ERROR five error="no port" code=G64_LISTEN\n');
  });
});
