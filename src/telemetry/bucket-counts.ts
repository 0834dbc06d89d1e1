// SPDX-License-Identifier: Apache-2.0
// The buckets of one series of a histogram, as data.

export class BucketCounts {
  /** By bound; the last is of what lies beyond. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.counts = new Float64Array(bounds.length + 1);
  }
}

export function observe(into: BucketCounts, bounds: readonly number[], value: number): void {
  const { counts } = into;
  let i = 0;
  while (i < bounds.length && value > (bounds[i] as number)) i++;
  counts[i] = (counts[i] as number) + 1;
  into.sum += value;
}

/** Of the same bounds. */
export function merge(into: BucketCounts, counts: Float64Array, sum: number): void {
  for (const [i, count] of counts.entries()) into.counts[i] = (into.counts[i] ?? 0) + count;
  into.sum += sum;
}
