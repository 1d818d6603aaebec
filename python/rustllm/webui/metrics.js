/**
 * Prometheus' text, and what changes between two readings of it.
 * @module
 */

/** @typedef {{labels: Record<string, string>, value: number}} Sample */
/** @typedef {{sum: number, count: number, buckets: {bound: number, count: number}[]}} Histogram the counts are cumulative */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** One reading of `/metrics`. */
export class Reading {
  /** @param {string} text @param {number} time milliseconds */
  constructor(text, time) {
    this.time = time;
    /** @type {Map<string, Sample[]>} */
    this.samples = new Map();
    for (const line of text.split("\n")) {
      const found = line.startsWith("#") ? null : LINE.exec(line);
      if (!found) continue;
      const [, name, labels = "", value] = found;
      const sample = { labels: Object.fromEntries([...labels.matchAll(LABEL)].map((match) => [match[1], match[2]])), value: Number(value.replace("+Inf", "Infinity")) };
      const all = this.samples.get(name);
      if (all) all.push(sample);
      else this.samples.set(name, [sample]);
    }
  }

  /** The sum of a metric's samples; null where there is none. @param {string} name @returns {number | null} */
  value(name) {
    const samples = this.samples.get(name);
    return samples ? samples.reduce((sum, { value }) => sum + value, 0) : null;
  }

  /** @param {string} name @returns {Histogram | null} */
  histogram(name) {
    const buckets = this.samples.get(`${name}_bucket`);
    if (!buckets) return null;
    return {
      sum: this.value(`${name}_sum`) ?? 0,
      count: this.value(`${name}_count`) ?? 0,
      buckets: buckets.map(({ labels, value }) => ({ bound: Number(labels.le.replace("+Inf", "Infinity")), count: value })),
    };
  }
}

/** Growth by the second; null where the counter is missing or began anew. @param {Reading} before @param {Reading} after @param {string} name */
export function rate(before, after, name) {
  const grown = growth(before, after, name);
  return grown === null ? null : (1000 * grown) / (after.time - before.time);
}

/** @param {Reading} before @param {Reading} after @param {string} name @returns {number | null} */
export function growth(before, after, name) {
  const [from, to] = [before.value(name), after.value(name)];
  return from === null || to === null || to < from ? null : to - from;
}

/**
 * The value below which a share of what came between two readings lies, interpolated within its bucket as Prometheus
 * does; null where nothing came.
 * @param {Reading} before @param {Reading} after @param {string} name @param {number} share from 0 to 1
 * @returns {number | null}
 */
export function quantile(before, after, name, share) {
  const [from, to] = [before.histogram(name), after.histogram(name)];
  if (!from || !to || to.count <= from.count) return null;
  const counts = to.buckets.map(({ bound, count }, index) => ({ bound, count: count - (from.buckets[index]?.count ?? 0) }));
  const rank = share * (to.count - from.count);
  let [low, below] = [0, 0];
  for (const { bound, count } of counts) {
    if (count >= rank && count > below) {
      // Above the last bound there is nothing to interpolate with.
      return Number.isFinite(bound) ? low + (bound - low) * ((rank - below) / (count - below)) : low;
    }
    [low, below] = [bound, count];
  }
  return null;
}

/** The mean of what came between two readings; null where nothing came. @param {Reading} before @param {Reading} after @param {string} name */
export function mean(before, after, name) {
  const [from, to] = [before.histogram(name), after.histogram(name)];
  return from && to && to.count > from.count ? (to.sum - from.sum) / (to.count - from.count) : null;
}
