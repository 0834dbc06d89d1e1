// SPDX-License-Identifier: Apache-2.0
// What is compared on the DNS side: gate64 and its peers as DNS64 in front of the same scripted upstream, on loopback.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GATE64 } from '../helpers/gate64.ts';
import { coreDnsBinary } from '../helpers/parts.ts';
import { eventually, run, start, type Background } from '../helpers/processes.ts';
import { processorSeconds, residentMiB } from './process.ts';
import { unboundCommand } from './unbound.ts';

export const UPSTREAM_PORT = 5300;
export const UPSTREAM_DELAY_MS = 20;

interface ResolverSetup {
  readonly title: string;
  readonly port: number;
  /** Writes what it needs into `directory`; gives the command. */
  command(directory: string, port: number): string[];
}

export const RESOLVERS = {
  unbound: { title: 'Unbound (dns64, 1 thread)', port: 5301, command: unbound },
  bind: { title: 'BIND (dns64, 1 thread)', port: 5305, command: bind },
  coredns: { title: 'CoreDNS (dns64, cache)', port: 5302, command: coreDns },
  gate64: { title: 'gate64, user space', port: 5303, command: (directory, port) => gate64(directory, port, false) },
  kernel: { title: 'gate64, kernel', port: 5304, command: (directory, port) => gate64(directory, port, true) },
} as const satisfies Record<string, ResolverSetup>;

export type ResolverName = keyof typeof RESOLVERS;

function unbound(directory: string, port: number): string[] {
  const options = `  interface: 127.0.0.1@${port}
  do-not-query-localhost: no
  module-config: "dns64 iterator"
  dns64-prefix: 64:ff9b::/96
  local-zone: "example." transparent
forward-zone:
  name: "example."
  forward-addr: 127.0.0.1@${UPSTREAM_PORT}`;
  return unboundCommand(join(directory, 'unbound.conf'), directory, options);
}

function bind(directory: string, port: number): string[] {
  const conf = join(directory, 'named.conf');
  writeFileSync(
    conf,
    `options {
  directory "${directory}";
  pid-file none;
  session-keyfile none;
  listen-on port ${port} { 127.0.0.1; };
  listen-on-v6 { none; };
  recursion yes;
  dnssec-validation no;
  empty-zones-enable no;
  minimal-responses yes;
  forward only;
  forwarders port ${UPSTREAM_PORT} { 127.0.0.1; };
  dns64 64:ff9b::/96 { clients { any; }; };
};
controls { };
`,
  );
  return ['named', '-g', '-n', '1', '-c', conf];
}

function coreDns(directory: string, port: number): string[] {
  const conf = join(directory, 'Corefile');
  // Without allow_ipv4 it synthesizes for clients that ask over IPv6 only.
  const dns64 = 'dns64 {\n    prefix 64:ff9b::/96\n    allow_ipv4\n  }';
  const plugins = ['bind 127.0.0.1', dns64, 'cache', `forward . 127.0.0.1:${UPSTREAM_PORT}`];
  writeFileSync(conf, `.:${port} {\n${plugins.map((plugin) => `  ${plugin}\n`).join('')}}\n`);
  return [coreDnsBinary(), '-conf', conf];
}

function gate64(directory: string, port: number, kernelCache: boolean): string[] {
  const conf = join(directory, 'gate64.yaml');
  writeFileSync(
    conf,
    `dns: { listen: ["127.0.0.1:${port}"], upstreams: ["127.0.0.1:${UPSTREAM_PORT}"], kernelCache: ${kernelCache} }
nat64: { enabled: false, allowNonGlobalIpv4: [203.0.113.0/24] }
http: { listen: "127.0.0.1:${port + 4000}" }
log: { level: warn }
`,
  );
  return [GATE64, 'run', '-c', conf];
}

/** Servers run on this core, what asks them on the other. */
const SERVER_CORE = ['taskset', '-c', '1'];

export class Resolver implements AsyncDisposable {
  readonly name: ResolverName;
  readonly #directory: string;
  readonly #process: Background;

  private constructor(name: ResolverName, directory: string, process: Background) {
    this.name = name;
    this.#directory = directory;
    this.#process = process;
  }

  get port(): number {
    return RESOLVERS[this.name].port;
  }

  static async start(name: ResolverName): Promise<Resolver> {
    const { port, command } = RESOLVERS[name];
    const directory = mkdtempSync(join(tmpdir(), `gate64-bench-${name}-`));
    const resolver = new Resolver(name, directory, start([...SERVER_CORE, ...command(directory, port)]));
    try {
      await eventually(`${name} synthesizes`, async () => {
        if (resolver.#process.exitCode() !== undefined) throw new Error(resolver.#process.log());
        const dig = ['dig', '+short', '+time=1', '+tries=1', '@127.0.0.1', '-p', String(port), 'probe.example', 'AAAA'];
        const { stdout } = await run(dig, { accept: 'any' });
        return stdout.startsWith('64:ff9b::') ? true : undefined;
      });
      return resolver;
    } catch (cause) {
      await resolver[Symbol.asyncDispose]();
      throw new Error(`${name} does not serve:\n${resolver.#process.log()}`, { cause });
    }
  }

  /** Processor time so far, user and system, of all its threads. */
  cpuMicroseconds(): number {
    const { user, system } = processorSeconds(this.#process.pid);
    return (user + system) * 1e6;
  }

  /** Resident memory. */
  mebibytes(): number {
    return residentMiB(this.#process.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop(9000);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export async function startUpstream(): Promise<Background> {
  const script = join(import.meta.dirname, 'slow-upstream.ts');
  const upstream = start([process.execPath, script, String(UPSTREAM_PORT), String(UPSTREAM_DELAY_MS)]);
  await eventually('the upstream listens', () => {
    if (upstream.exitCode() !== undefined) throw new Error(upstream.log());
    return upstream.log().includes('listening') ? true : undefined;
  });
  return upstream;
}
