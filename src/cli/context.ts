// SPDX-License-Identifier: Apache-2.0
// What the commands need from outside: streams, the data plane's reader, the running service, a resolver. Tests put
// their own here. What is large is loaded when a command asks for it: `version` must not load the BPF binding.

import type { Endpoint } from '../addr/ip.ts';
import { AcceptedFile } from '../config/accepted.ts';
import type { Config } from '../config/config.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { DatapathReader } from '../datapath/datapath.ts';
import type { DatapathWatch, WatchEvent, WatchFilter } from '../datapath/watch.ts';
import type { Examination, FlowExamination } from '../host/examine.ts';
import type { ExecResult } from '../host/exec.ts';
import type { FlowQuestion } from '../host/flow.ts';
import type { ProbeRequest, ProbeResult } from '../host/probe.ts';
import type { Finding } from '../plan/findings.ts';
import type { ServiceStatus } from '../telemetry/status.ts';
import { asRoot } from './as-root.ts';
import { NameTable } from '../names/name-table.ts';
import { readNames } from '../names/name-file.ts';
import type { Usage } from '../names/usage.ts';
import { readUsage } from '../names/usage-file.ts';
import { lookup, type LookupAnswer, type LookupType } from './lookup.ts';
import { fetchReadiness, fetchStatus, type ReadinessAnswer } from './status-client.ts';

export interface Output {
  write(text: string): void;
  readonly isTerminal: boolean;
  /** Columns of the terminal; Infinity elsewhere, where nothing is left out. */
  readonly width: number;
  readonly colour: boolean;
}

class StreamOutput implements Output {
  readonly isTerminal: boolean;
  readonly width: number;
  readonly colour: boolean;
  readonly #stream: NodeJS.WriteStream;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.isTerminal = stream.isTTY;
    this.width = stream.isTTY ? stream.columns : Infinity;
    // https://no-color.org: any value but the empty one.
    this.colour = stream.isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
    // `gate64 sessions | head` closes the pipe early, which is no error of ours.
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      process.exit(0);
    });
  }

  write(text: string): void {
    this.#stream.write(text);
  }
}

export interface CliContext {
  readonly stdout: Output;
  readonly stderr: Output;
  /** What stands in for a configuration file that is wrong. */
  readonly accepted: AcceptedFile;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Ends on a signal; for commands that go on until they are stopped. */
  readonly signal: AbortSignal;
  /** Throws G64_DATAPATH_MISSING when this node has no data plane. */
  openReader(): Promise<DatapathReader>;
  /** Throws G64_DATAPATH_MISSING when this node has no data plane, G64_ALREADY_RUNNING while another one watches it. */
  openWatch(filter: WatchFilter, listener: (events: readonly WatchEvent[]) => void): Promise<DatapathWatch>;
  /** The names that the DNS of this node handed out, as the service keeps them; undefined when there is no file of them. */
  readNames(): NameTable | undefined;
  /** What sessions that have ended came to, as the service keeps it. */
  readUsage(): Usage[];
  /** What the running service says; undefined when none answers at `listen`. */
  fetchStatus(listen: Endpoint): Promise<ServiceStatus | undefined>;
  /** What /readyz of the running service says; undefined when none answers at `listen`. */
  fetchReadiness(listen: Endpoint): Promise<ReadinessAnswer | undefined>;
  /** Looks at the node and changes nothing. */
  examine(config: Config): Promise<Examination>;
  /** Runs the command of a finding by a shell. Throws G64_HOST_COMMAND when it cannot be run or does not end. */
  runLine(text: string): Promise<ExecResult>;
  /** Asks every upstream once. */
  checkUpstreams(config: Config): Promise<readonly Finding[]>;
  /** Tries to listen where DNS is asked. */
  checkListen(config: Config): Promise<readonly Finding[]>;
  /** Looks at the node for one flow and changes nothing. */
  examineFlow(config: Config, question: FlowQuestion): Promise<FlowExamination>;
  /** Sends one probe; `onSent` is told its source port, 0 where there is none. */
  probe(request: ProbeRequest, onSent: (port: number) => Promise<void>): Promise<ProbeResult>;
  lookup(server: Endpoint, name: string, type: LookupType): Promise<LookupAnswer>;
  runService(loaded: LoadedConfig): Promise<number>;
  /** Says what was done, such as "removed: device gate64". */
  uninstall(config: Config): Promise<readonly string[]>;
}

/** The real one. */
export class ProcessContext implements CliContext {
  readonly stdout = new StreamOutput(process.stdout);
  readonly stderr = new StreamOutput(process.stderr);
  readonly accepted = new AcceptedFile();
  readonly #stop = new AbortController();

  get signal(): AbortSignal {
    if (process.listenerCount('SIGINT') === 0) process.once('SIGINT', () => this.#stop.abort());
    return this.#stop.signal;
  }

  now(): number {
    return Date.now();
  }

  async openReader(): Promise<DatapathReader> {
    const { openReader } = await import('../datapath/open.ts');
    return asRoot('read the data plane', () => openReader());
  }

  async openWatch(filter: WatchFilter, listener: (events: readonly WatchEvent[]) => void): Promise<DatapathWatch> {
    const { openWatch } = await import('../datapath/open.ts');
    return asRoot('watch the data plane', () => openWatch(filter, listener));
  }

  readNames(): NameTable | undefined {
    const records = readNames();
    if (records === undefined) return undefined;
    const table = new NameTable({ now: Date.now });
    table.restore(records, Date.now());
    return table;
  }

  readUsage(): Usage[] {
    return readUsage();
  }

  fetchStatus(listen: Endpoint): Promise<ServiceStatus | undefined> {
    return fetchStatus(listen);
  }

  fetchReadiness(listen: Endpoint): Promise<ReadinessAnswer | undefined> {
    return fetchReadiness(listen);
  }

  async examine(config: Config): Promise<Examination> {
    const [{ examine }, { LinuxHost }, { PinnedSite }] = await Promise.all([
      import('../host/examine.ts'),
      import('../host/host.ts'),
      import('../datapath/open.ts'),
    ]);
    return examine(new LinuxHost(), config, new PinnedSite());
  }

  async runLine(text: string): Promise<ExecResult> {
    return (await import('../host/exec.ts')).execLine(text);
  }

  async checkUpstreams(config: Config): Promise<readonly Finding[]> {
    return (await import('./upstream-findings.ts')).upstreamFindings(config);
  }

  async checkListen(config: Config): Promise<readonly Finding[]> {
    return (await import('./listen-findings.ts')).listenFindings(config);
  }

  async examineFlow(config: Config, question: FlowQuestion): Promise<FlowExamination> {
    const [{ examineFlow }, { LinuxHost }] = await Promise.all([
      import('../host/examine.ts'),
      import('../host/host.ts'),
    ]);
    return asRoot('look at the node', () => examineFlow(new LinuxHost(), config, question));
  }

  async probe(request: ProbeRequest, onSent: (port: number) => Promise<void>): Promise<ProbeResult> {
    return (await import('../host/probe.ts')).probe(request, onSent);
  }

  lookup(server: Endpoint, name: string, type: LookupType): Promise<LookupAnswer> {
    return lookup(server, name, type);
  }

  async runService(loaded: LoadedConfig): Promise<number> {
    return (await import('../service.ts')).runService(loaded, this.accepted);
  }

  async uninstall(config: Config): Promise<readonly string[]> {
    const { uninstall } = await import('../service.ts');
    return asRoot('take gate64 off this node', () => uninstall(config));
  }
}
