// SPDX-License-Identifier: Apache-2.0
// The parts of the page, each a pure function of its facts.

import { PROTOCOLS } from '../model/binding.ts';
import { bytesText, durationText } from '../model/words.ts';
import { halfText, type HalfStatus } from '../telemetry/status.ts';
import { sessionChart } from './chart.ts';
import type { LookPart, NamePart, PageFacts } from './facts.ts';
import { markup, Markup, type Part } from './markup.ts';
import { table } from './table.ts';

/** Of a longer name the end is shown, which says whose it is. */
const NAME_WIDTH = 64;

export interface Section {
  readonly id: string;
  readonly title: string;
  readonly isWide: boolean;
  readonly content: (facts: PageFacts) => Markup;
}

export const SECTIONS: readonly Section[] = [
  { id: 'readiness', title: 'Readiness', isWide: false, content: readiness },
  { id: 'findings', title: 'Findings of doctor', isWide: false, content: ({ look, at }) => findings(look, at) },
  { id: 'sessions', title: 'Sessions', isWide: false, content: sessions },
  { id: 'pool', title: 'Pool', isWide: false, content: pool },
  { id: 'names', title: 'Names', isWide: false, content: names },
  { id: 'pods', title: 'Pods', isWide: false, content: pods },
  { id: 'drops', title: 'Refused packets', isWide: true, content: drops },
];

/** In words, for a place that a screen reader reads out when it changes. */
export function stateText({ ready, service }: PageFacts): Markup {
  const why = service.draining ? ': draining' : '';
  return ready ? markup`<span class="good">✓ Ready</span>` : markup`<span class="bad">✗ Not ready${why}</span>`;
}

function readiness({ service, at, problem }: PageFacts): Markup {
  const { dns, nat64, config } = service;
  const reload = config.lastReload;
  const up = ago(service.startedAt, at);
  const pairs: (readonly [string, Part])[] = [
    ['DNS64', half(dns)],
    ...pair('Listens at', dns.enabled ? dns.listen.join(', ') : ''),
    ...pair('Upstreams', dns.enabled ? dns.upstreams.join(', ') : ''),
    ...(dns.failing ?? []).map(
      ({ upstream, reason }) => ['Failing', markup`<span class="bad">${upstream}: ${reason}</span>`] as const,
    ),
    ['NAT64', half(nat64)],
    ...pair('Way out', nat64.enabled ? `${nat64.egress}${nat64.uplink === null ? '' : ` by ${nat64.uplink}`}` : ''),
    ...pair('Attached by', nat64.attach ?? ''),
    ...pair('Data plane', problem ?? ''),
    ['Configuration', config.file ?? 'the defaults'],
    [
      'Last read',
      markup`${ago(reload.at, at)} ago, ${reload.successful ? 'accepted' : markup`<span class="bad">refused</span>`}`,
    ],
    ...lines(reload.error).map((line) => ['Why', markup`<span class="bad">${line}</span>`] as const),
    ['Up for', `${up}, version ${service.version}, pid ${service.pid}`],
  ];
  return markup`<dl>${pairs.map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>\n`)}</dl>`;
}

function pair(name: string, value: string): (readonly [string, string])[] {
  return value === '' ? [] : [[name, value]];
}

function lines(text = ''): string[] {
  return text.split('\n').filter((line) => line !== '');
}

function half(status: HalfStatus): Markup {
  const colour = !status.enabled ? 'quiet' : status.ready ? 'good' : 'bad';
  return markup`<span class="${colour}">${halfText(status)}</span>`;
}

function findings(look: LookPart | null, now: string): Markup {
  if (look === null) return quiet('The service has not looked at this node: it does so where NAT64 is enabled.');
  const when = markup`<p class="quiet">
    Looked ${ago(look.at, now)} ago, at a start or a reload. <code>gate64 doctor</code> looks now.
  </p>`;
  if (look.findings.length === 0)
    return markup`<p class="good">✓ Nothing was wrong with this node.</p>
      ${when}`;
  const items = look.findings.map(
    ({ name, severity, message, remedy, command }) =>
      markup`<li>
        <p><strong class="${severity === 'error' ? 'bad' : 'warn'}">${severity}: ${name}</strong></p>
        <p>${message}</p>
        ${
          remedy === null ? '' : markup`<p>To do: ${remedy}</p>`
        }${command === null ? '' : markup`<p>Run: <code>${command}</code></p>`}
      </li>`,
  );
  return markup`<ul>
      ${items}
    </ul>
    ${when}`;
}

function sessions({ datapath, samples, at }: PageFacts): Markup {
  if (datapath === null) return noDatapath();
  const { entries, maxEntries } = datapath.table;
  const counts = table({
    id: 'session-table',
    caption: `The session table has ${entries} of at most ${maxEntries}.`,
    columns: ['Protocol', { number: 'Sessions' }, { number: 'Bindings' }],
    rows: PROTOCOLS.map((protocol) => [
      protocol.toUpperCase(),
      datapath.sessions[protocol],
      datapath.bindings[protocol],
    ]),
    none: '',
  });
  return markup`${sessionChart([...samples, { at, sessions: datapath.sessions }])}${counts}`;
}

function pool({ datapath }: PageFacts): Markup {
  if (datapath === null) return noDatapath();
  return table({
    id: 'pool-table',
    caption: 'Blocks of ports by state, and ports that bindings use.',
    columns: ['Address', ...numbers('Free', 'Leased', 'Resting', 'Retired', 'Ports', 'TCP', 'UDP', 'ICMP')],
    rows: datapath.pool.map(({ address, draining, blocks, ports }) => [
      markup`<span class="address">${address}</span>${draining ? markup`<div class="warn">left the pool</div>` : ''}`,
      blocks.offered,
      blocks.leased,
      blocks.resting,
      blocks.retired,
      ports.total,
      ports.used.tcp,
      ports.used.udp,
      ports.used.icmp,
    ]),
    none: 'The pool is empty.',
  });
}

function names({ usage }: PageFacts): Markup {
  return table({
    id: 'name-table',
    caption: `${shownOf(usage.names.length, usage.nameCount)} by sessions, ${withRunning(usage.hasRunning)}. “?”: a guess.`,
    columns: ['Name or address', ...numbers('Pods', 'Sessions', 'Out', 'In')],
    rows: usage.names.map((row) => [
      name(row),
      row.pods,
      row.sessions,
      bytesText(row.bytesOut),
      bytesText(row.bytesIn),
    ]),
    none: 'No pod has used NAT64 yet.',
  });
}

function pods({ usage }: PageFacts): Markup {
  return table({
    id: 'pod-table',
    caption: `${shownOf(usage.pods.length, usage.podCount)} by sessions, ${withRunning(usage.hasRunning)}.`,
    columns: ['Pod', ...numbers('Running', 'Names', 'Sessions', 'Out', 'In')],
    rows: usage.pods.map((row) => [
      markup`<span class="address">${row.pod}</span>`,
      row.sessionsNow,
      row.names,
      row.sessions,
      bytesText(row.bytesOut),
      bytesText(row.bytesIn),
    ]),
    none: 'No pod has used NAT64 yet.',
  });
}

function shownOf(shown: number, all: number): string {
  return shown === all ? 'All' : `The first ${shown} of ${all}`;
}

function withRunning(hasRunning: boolean): string {
  return hasRunning ? 'those that run included' : 'of those that have ended; too many run to be walked here';
}

function name({ name: text, isGuess, isAddress }: NamePart): Markup {
  if (isAddress) return markup`<span class="address">${text}</span>`;
  const guess = isGuess ? '?' : '';
  if (text.length <= NAME_WIDTH) return markup`<span class="name">${text}${guess}</span>`;
  return markup`<span class="name" title="${text}">…${text.slice(1 - NAME_WIDTH)}${guess}</span>`;
}

function numbers(...titles: readonly string[]): { readonly number: string }[] {
  return titles.map((number) => ({ number }));
}

function drops({ datapath, at }: PageFacts): Markup {
  if (datapath === null) return noDatapath();
  return table({
    id: 'drop-table',
    caption: 'Since the data plane was made, the most frequent first.',
    columns: ['Reason', { number: 'Count' }, 'Direction', 'What it means', 'Last packet'],
    rows: datapath.drops.map(({ reason, count, direction, explanation, last }) => [
      markup`<code>${reason}</code>`,
      count,
      direction,
      markup`<div class="words">${explanation}</div>`,
      last === null
        ? '–'
        : markup`<div class="words">${ago(last.at, at)} ago: <span class="name">${last.packet}</span></div>`,
    ]),
    none: 'No packet was refused.',
  });
}

function noDatapath(): Markup {
  return quiet('There is no data plane: NAT64 is disabled, or has not started.');
}

function quiet(text: string): Markup {
  return markup`<p class="quiet">${text}</p>`;
}

/** "1m30s" */
function ago(then: string, now: string): string {
  return durationText((Date.parse(now) - Date.parse(then)) / 1000);
}
