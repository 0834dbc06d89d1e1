// SPDX-License-Identifier: Apache-2.0
// Sessions over time as a line. The figures stand beside it as text, which does not shrink with the picture.

import { PROTOCOLS } from '../model/binding.ts';
import { durationText } from '../model/words.ts';
import type { Sample } from './facts.ts';
import { markup, type Markup } from './markup.ts';

const WIDTH = 720;
const HEIGHT = 160;

export function sessionsOf({ sessions }: Pick<Sample, 'sessions'>): number {
  return PROTOCOLS.reduce((sum, protocol) => sum + sessions[protocol], 0);
}

/** A figure; words while there are not two samples. */
export function sessionChart(samples: readonly Sample[]): Markup {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || samples.length < 2)
    return markup`<p class="quiet">The line over time begins with the second sample.</p>`;
  const [from, to] = [Date.parse(first.at), Date.parse(last.at)];
  const counts = samples.map(sessionsOf);
  const top = ceiling(Math.max(...counts));
  const points = samples.map((sample, i) => {
    const x = (WIDTH * (Date.parse(sample.at) - from)) / Math.max(1, to - from);
    return `${x.toFixed(1)},${(HEIGHT * (1 - (counts[i] ?? 0) / top)).toFixed(1)}`;
  });
  const span = durationText((to - from) / 1000);
  const words = `Sessions over the last ${span}: ${counts.at(-1) ?? 0} now, ${Math.max(...counts)} at most, ${Math.min(...counts)} at least.`;
  return markup`<figure>
    <div class="plot">
      <div class="scale" aria-hidden="true"><span>${top}</span><span>0</span></div>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${words}">
        <polygon class="area" points="0,${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}" />
        <polyline class="curve" points="${points.join(' ')}" />
      </svg>
      <div class="times" aria-hidden="true"><span>${span} ago</span><span>now</span></div>
    </div>
    <figcaption class="quiet">${words}</figcaption>
  </figure>`;
}

/** The next of 4, 8, 10, 20, 40, 80, 100 …: half of it is a whole number, too. */
function ceiling(count: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, count)));
  const steps = [1, 2, 4, 8, 10].map((step) => step * power);
  return Math.max(4, steps.find((step) => step >= count) ?? count);
}
