// SPDX-License-Identifier: Apache-2.0
// What a run of the bench says: a table for people, a page for docs/, an object for programs.

import { availableParallelism, release } from 'node:os';
import { FIGURES, type Figure, type FigureName } from './figures.ts';
import { RESOLVERS } from './resolvers.ts';
import type { FigureRow, Samples } from './statistics.ts';
import { SYSTEMS } from './systems.ts';

const TITLES: Readonly<Record<string, { title: string }>> = { ...SYSTEMS, ...RESOLVERS };

export interface RunShape {
  readonly rounds: number;
  /** What runs the same again. */
  readonly command: string;
  /** Of one minute, when the run began. */
  readonly loadAverage: number;
}

interface MeasuredFigure extends Figure {
  readonly name: string;
  readonly rows: readonly FigureRow[];
}

function measured(samples: Samples): MeasuredFigure[] {
  return (Object.keys(FIGURES) as FigureName[])
    .map((name) => ({ name, ...FIGURES[name], rows: samples.rows(name, FIGURES[name].base) }))
    .filter(({ rows }) => rows.length > 0);
}

const title = (system: string) => TITLES[system]?.title ?? system;
const number = (value: number, digits: number) => value.toFixed(digits);

/** "1.00", and more digits where there is little to show. */
function ratio(value: number): string {
  if (!Number.isFinite(value)) return '–';
  return value.toFixed(value < 0.1 ? 3 : 2);
}

function machine(): string {
  return `${availableParallelism()} cores, kernel ${release().split(/[-+]/)[0]}`;
}

/** What other work there was; empty when there was hardly any. */
export function busyNote(loadAverage: number): string {
  if (loadAverage < 0.5) return '';
  const load = loadAverage.toFixed(1);
  return `The machine had other work (load average ${load} at the start): the figures are low and uneven.`;
}

export function textReport(samples: Samples, { rounds, loadAverage }: RunShape): string {
  const lines = [`${machine()}; medians of ${rounds} rounds, systems interleaved; ratios carry over, absolutes do not`];
  if (busyNote(loadAverage) !== '') lines.push(busyNote(loadAverage));
  for (const figure of measured(samples)) {
    lines.push('', `${figure.title} (${figure.unit}; ratio to ${title(figure.base)})`);
    for (const { system, median, ratio: relative, samples: values } of figure.rows) {
      const spread = `${number(Math.min(...values), figure.digits)} … ${number(Math.max(...values), figure.digits)}`;
      const cells = [title(system).padEnd(28), number(median, figure.digits).padStart(9), ratio(relative).padStart(7)];
      lines.push(`  ${cells.join('')}   (${spread})`);
    }
  }
  return lines.join('\n');
}

export function jsonReport(samples: Samples, { rounds, command, loadAverage }: RunShape): object {
  return {
    machine: { cores: availableParallelism(), kernel: release() },
    command,
    rounds,
    loadAverage,
    figures: measured(samples).map(({ name, title: figureTitle, unit, base, meaning, rows }) => ({
      name,
      title: figureTitle,
      unit,
      base,
      meaning,
      systems: rows,
    })),
  };
}

function table(figures: readonly MeasuredFigure[]): string {
  const systems = [...new Set(figures.flatMap(({ rows }) => rows.map(({ system }) => system)))];
  const cell = ({ rows, digits }: MeasuredFigure, system: string) => {
    const row = rows.find((candidate) => candidate.system === system);
    return row ? `${ratio(row.ratio)} (${number(row.median, digits)})` : '–';
  };
  return [
    `| | ${systems.map(title).join(' | ')} |`,
    `| --- |${' ---: |'.repeat(systems.length)}`,
    ...figures.map(
      (figure) => `| ${figure.title}, ${figure.unit} | ${systems.map((system) => cell(figure, system)).join(' | ')} |`,
    ),
  ].join('\n');
}

/** The generated part of docs/benchmarks.md. */
export function markdownReport(samples: Samples, { rounds, command, loadAverage }: RunShape): string {
  const figures = measured(samples);
  const isDns = ({ part }: MeasuredFigure) => part === 'dns';
  const sections = [
    `Measured on ${machine()}, by \`${command}\`: medians of ${rounds} rounds. Each cell is the ratio, and in brackets ` +
      `the median that it was made from. ${busyNote(loadAverage)}`.trimEnd(),
  ];
  const packets = figures.filter((figure) => !isDns(figure));
  if (packets.length > 0) sections.push('### Packets, as ratios to plain IPv4 routing', table(packets));
  const dns = figures.filter(isDns);
  if (dns.length > 0) sections.push('### DNS, as ratios to Unbound', table(dns));
  sections.push('### What each figure means', figures.map((f) => `- **${f.title}**: ${f.meaning}`).join('\n'));
  return sections.join('\n\n');
}
