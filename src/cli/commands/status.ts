// SPDX-License-Identifier: Apache-2.0
// `gate64 status`: whether the service runs and can serve, and what the data plane holds. Works from the pinned maps when
// the service is down.

import { Command } from 'commander';
import { formatEndpoint, type Endpoint } from '../../addr/ip.ts';
import type { DatapathReader, DropRow } from '../../datapath/datapath.ts';
import { Gate64Error } from '../../errors.ts';
import {
  halfText,
  isReady,
  type HalfStatus,
  type KernelCacheStatus,
  type NamesStatus,
  type ServiceStatus,
} from '../../telemetry/status.ts';
import { configOrDefaults } from '../config.ts';
import type { CliContext, Output } from '../context.ts';
import { EXIT_PROBLEM, ExitCode } from '../exit.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { durationText } from '../../model/words.ts';
import { bad, good, renderPairs } from '../render.ts';
import { dropJson } from '../rows.ts';

interface StatusOptions extends OutputOptions {
  readonly config?: string;
}

interface DatapathSummary {
  readonly present: boolean;
  /** Why it could not be read; null when it was. */
  readonly problem: string | null;
  readonly sessions: Readonly<Record<string, number>>;
  readonly bindings: Readonly<Record<string, number>>;
  readonly blocks: { readonly total: number; readonly free: number; readonly leased: number };
  readonly topDrops: readonly DropRow[];
}

const TOP_DROPS = 3;

export function statusCommand(context: CliContext): Command {
  return new Command('status')
    .summary('show whether gate64 runs and can serve')
    .description('Shows whether the service runs and both halves can serve, and what the data plane holds.')
    .option('-c, --config <file>', 'the configuration file, for http.listen')
    .addOption(outputOption())
    .action(async (options: StatusOptions) => {
      const { config, refused } = configOrDefaults(options.config, context);
      const at = formatEndpoint(config.http.listen);
      const { service, problem } = await ask(context, config.http.listen);
      const datapath = await summarise(context);
      const ready = service !== undefined && isReady(service);
      const json = {
        ready,
        service: service ?? null,
        configProblem: refused?.message ?? null,
        serviceProblem: service === undefined ? (problem ?? `nothing answers at ${at}`) : null,
        datapath: { ...datapath, topDrops: datapath.topDrops.map(dropJson) },
      };
      emit(context.stdout, options, json, () => {
        const head = service === undefined ? downPairs(at, problem, context.stdout) : servicePairs(service, context);
        // A DNS64 alone may be in a pod, from where the node's data plane is not seen.
        const isDnsAlone = service?.nat64.enabled === false && !datapath.present;
        return renderPairs([...head, ...(isDnsAlone ? [] : datapathPairs(datapath))]);
      });
      if (!ready || refused) throw new ExitCode(EXIT_PROBLEM);
    });
}

/** A service that starts or hangs gives no status; the maps are worth showing all the same. */
async function ask(
  context: CliContext,
  listen: Endpoint,
): Promise<{ service: ServiceStatus | undefined; problem: string | undefined }> {
  try {
    return { service: await context.fetchStatus(listen), problem: undefined };
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    return { service: undefined, problem: error.message };
  }
}

async function summarise(context: CliContext): Promise<DatapathSummary> {
  try {
    using reader = await context.openReader();
    return { present: true, problem: null, ...counts(reader) };
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    const nothing = { sessions: {}, bindings: {}, blocks: { total: 0, free: 0, leased: 0 }, topDrops: [] };
    return { present: error.code !== 'G64_DATAPATH_MISSING', problem: error.message, ...nothing };
  }
}

function counts(reader: DatapathReader): Omit<DatapathSummary, 'present' | 'problem'> {
  const blocks = reader.blocks();
  const inState = (state: string) => blocks.filter((block) => block.state === state).length;
  return {
    ...reader.counts(),
    blocks: { total: blocks.length, free: inState('offered'), leased: inState('leased') },
    topDrops: reader.drops().slice(0, TOP_DROPS),
  };
}

type Pair = readonly [name: string, value: string];

function downPairs(at: string, problem: string | undefined, output: Output): Pair[] {
  if (problem !== undefined) return [['service', `${bad('not answering', output)}: ${problem}`]];
  return [['service', `${bad('down', output)}: nothing answers at ${at}`]];
}

function kernelText(cache: KernelCacheStatus): string {
  if ('off' in cache) return `off: ${cache.off}`;
  const where = cache.interfaces.length === 0 ? '' : ` on ${cache.interfaces.join(', ')}`;
  return `${cache.entries} answers${where}, ${cache.answered} given`;
}

function servicePairs(service: ServiceStatus, context: CliContext): Pair[] {
  const { stdout } = context;
  const half = (status: HalfStatus) => {
    if (!status.enabled) return halfText(status);
    return (status.ready ? good : bad)(halfText(status), stdout);
  };
  const uptime = durationText((context.now() - Date.parse(service.startedAt)) / 1000);
  const { config, dns, nat64 } = service;
  const reload = config.lastReload;
  return [
    [
      'service',
      `${service.draining ? 'draining' : 'up'} for ${uptime}, version ${service.version}, pid ${service.pid}`,
    ],
    ['dns', half(dns)],
    ...(dns.enabled ? dnsPairs(dns, stdout) : []),
    ['nat64', half(nat64)],
    ...(nat64.enabled ? nat64Pairs(nat64, stdout) : []),
    ['configuration', config.file ?? 'the defaults'],
    ['  last read', `${reload.at} ${reload.successful ? good('accepted', stdout) : bad('refused', stdout)}`],
    ...(reload.error ?? '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line): Pair => ['', line]),
  ];
}

function dnsPairs(dns: ServiceStatus['dns'], output: Output): Pair[] {
  return [
    ['  listen', `${dns.listen.join(', ')}${dns.listener == null ? '' : ` (${dns.listener})`}`],
    ...(dns.kernelCache === undefined ? [] : [['  kernel cache', kernelText(dns.kernelCache)] satisfies Pair]),
    ...(dns.workers ? [['  workers', workersText(dns.workers, output)] satisfies Pair] : []),
    ['  upstreams', dns.upstreams.join(', ')],
    ...(dns.failing ?? []).map(({ upstream, reason }): Pair => ['', bad(`${upstream}: ${reason}`, output)]),
    ...(dns.cache ? [['  cache', cacheText(dns.cache)] satisfies Pair] : []),
  ];
}

function nat64Pairs(nat64: ServiceStatus['nat64'], output: Output): Pair[] {
  return [
    ['  way out', `${nat64.egress}${nat64.uplink === null ? '' : ` by ${nat64.uplink}`}`],
    ['  attached', attachText(nat64)],
    ...(nat64.accelerated === undefined
      ? []
      : [['  accelerated', `${nat64.accelerated} interface${nat64.accelerated === 1 ? '' : 's'}`] as const]),
    ...(nat64.names === undefined ? [] : namesPairs(nat64.names, output)),
  ];
}

function namesPairs({ isOff, following, failing }: NamesStatus, output: Output): Pair[] {
  if (isOff) return [['  names from', 'nobody: there is no token (telemetry.namesToken)']];
  return [
    ['  names from', following.length === 0 ? bad('nobody', output) : following.join(', ')],
    ...failing.map(({ source, reason }): Pair => ['', bad(`${source}: ${reason}`, output)]),
  ];
}

function attachText({ attach, adopted }: ServiceStatus['nat64']): string {
  if (attach === null) return 'no';
  return adopted === true ? `${attach}, with the sessions of the process before` : attach;
}

function datapathPairs(summary: DatapathSummary): Pair[] {
  if (summary.problem !== null) return [['data plane', summary.problem]];
  const { sessions, bindings, blocks, topDrops } = summary;
  return [
    ['sessions', countsText(sessions)],
    ['bindings', countsText(bindings)],
    ['blocks', `${blocks.total} in all, ${blocks.free} free, ${blocks.leased} leased`],
    ['drops', topDrops.length === 0 ? 'none' : topDrops.map((row) => `${row.count} ${row.reason}`).join(', ')],
  ];
}

function countsText(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([protocol, count]) => `${count} ${protocol}`)
    .join(', ');
}

function workersText({ running, wanted }: NonNullable<ServiceStatus['dns']['workers']>, output: Output): string {
  return (running === wanted ? good : bad)(`${running} of ${wanted}`, output);
}

function cacheText({ entries, bytes }: { readonly entries: number; readonly bytes: number }): string {
  return `${entries} answer${entries === 1 ? '' : 's'}, ${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
