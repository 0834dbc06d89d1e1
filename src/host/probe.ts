// SPDX-License-Identifier: Apache-2.0
// Sends one probe and waits for what comes back: from this network namespace, or with nsenter from another's.

import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Gate64Error } from '../errors.ts';
import type { Protocol } from '../model/binding.ts';

export interface ProbeRequest {
  readonly protocol: Protocol;
  /** Text of IPv6 addresses. */
  readonly source: string;
  readonly destination: string;
  /** 0 for ICMP. */
  readonly port: number;
  readonly timeoutMs: number;
  /** A name below /run/netns or a PID; undefined: here. */
  readonly netns: string | undefined;
}

export interface ProbeResult {
  /** `answered`: a reply of any kind came, `what` says which. `failed`: it could not be sent, or was refused on the way. */
  readonly outcome: 'answered' | 'silent' | 'failed';
  readonly what: string;
  /** From sending to the answer. */
  readonly ms: number;
}

/** Commands that a probe may run beside Node.js, which the service does not need, with their packages. */
const PROBE_COMMANDS = { ping: 'iputils-ping', nsenter: 'util-linux' } as const;

type Said = { readonly sent: number } | ProbeResult;

/**
 * `onSent` is told the source port once the probe is out, 0 for ICMP; the result comes after it has ended. Throws
 * G64_HOST_COMMAND when a command is missing, G64_USAGE when the namespace is.
 */
export async function probe(request: ProbeRequest, onSent: (port: number) => Promise<void>): Promise<ProbeResult> {
  const [command = '', ...args] = [...enter(request.netns), ...sender(request)];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C' } });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const failed = new Promise<ProbeResult>((resolve) => {
    child.once('error', ({ message }) => resolve({ outcome: 'failed', what: message, ms: 0 }));
  });
  const listened = listen();
  return Promise.race([failed, listened]);

  async function listen(): Promise<ProbeResult> {
    let result: ProbeResult | undefined;
    let sent: Promise<void> | undefined;
    if (request.protocol === 'icmp') sent = onSent(0);
    for await (const line of createInterface({ input: child.stdout })) {
      const said = request.protocol === 'icmp' ? pingSaid(line) : (JSON.parse(line) as Said);
      if (said === undefined) continue;
      if ('sent' in said) sent = onSent(said.sent);
      else result = said;
    }
    await sent;
    if (result !== undefined) return result;
    const words = errors.trim().split('\n')[0] ?? '';
    if (words !== '') return { outcome: 'failed', what: words, ms: 0 };
    return { outcome: 'silent', what: 'no answer', ms: request.timeoutMs };
  }
}

function enter(netns: string | undefined): string[] {
  if (netns === undefined) return [];
  const path = /^\d+$/.test(netns) ? `/proc/${netns}/ns/net` : `/run/netns/${netns}`;
  if (!existsSync(path)) {
    throw new Gate64Error('G64_USAGE', `there is no network namespace "${netns}": ${path} is not there`, {
      hint: 'name one of `ip netns`, or the PID of a process of the pod',
    });
  }
  return [needed('nsenter'), `--net=${path}`, '--'];
}

/** Looked for here, not left to fail: inside nsenter a missing command looks like a packet that was not answered. */
function needed(command: keyof typeof PROBE_COMMANDS): string {
  const isThere = (process.env['PATH'] ?? '').split(delimiter).some((folder) => canRun(join(folder, command)));
  if (isThere) return command;
  const of = PROBE_COMMANDS[command];
  throw new Gate64Error('G64_HOST_COMMAND', `the command "${command}" is not installed, and this probe needs it`, {
    hint: `Install the package ${of}. On Debian and Ubuntu: apt-get install -y ${of}`,
  });
}

function canRun(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function sender({ protocol, source, destination, port, timeoutMs }: ProbeRequest): string[] {
  if (protocol === 'icmp') {
    return [
      needed('ping'),
      '-6',
      '-n',
      '-c',
      '1',
      '-W',
      String(Math.ceil(timeoutMs / 1000)),
      '-I',
      source,
      destination,
    ];
  }
  // Built: probe-sender.js; from source: probe-sender.ts.
  const self = import.meta.url;
  const file = fileURLToPath(new URL(`./probe-sender${self.slice(self.lastIndexOf('.'))}`, self));
  return [process.execPath, file, protocol, source, destination, String(port), String(timeoutMs)];
}

function pingSaid(line: string): ProbeResult | undefined {
  const ms = /icmp_seq=\d+.* time=([\d.]+) ms/.exec(line)?.[1];
  if (ms !== undefined) return { outcome: 'answered', what: 'an echo reply', ms: Number(ms) };
  const error = /icmp_seq=\d+ (.*)$/.exec(line)?.[1];
  return error === undefined ? undefined : { outcome: 'failed', what: `ICMPv6 error: ${error}`, ms: 0 };
}
