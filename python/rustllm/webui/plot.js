/**
 * A line plot over time, in SVG.
 * @module
 */

import { el } from "./dom.js";

/**
 * @typedef {object} Options
 * @property {string} title
 * @property {string} hint what is shown, in a sentence
 * @property {string[]} series names, at most three
 * @property {(value: number) => string} format
 * @property {number} [least] the top of the axis is never below it
 * @property {number} [top] the top of the axis, where it is always the same
 */
/** @typedef {{time: number, values: (number | null)[]}} Point */

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const EDGE = { left: 4, right: 4, top: 8, bottom: 4 };
/** Points further apart than so many times the usual distance are not joined. */
const GAP = 4;

/** @param {string} tag @param {Record<string, string | number>} [attributes] */
function svg(tag, attributes = {}) {
  const node = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}

export class Plot {
  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    /** @type {Point[]} */
    this.points = [];
    this.seconds = 120;
    this.width = 400;
    /** @type {number | null} the time under the pointer */
    this.under = null;
    this.values = options.series.map(() => el("b", {}, "–"));
    const legend = options.series.map((name, index) => el("span", { class: `key s${index + 1}` }, el("i", { "aria-hidden": "true" }), `${name} `, this.values[index]));
    this.svg = svg("svg", { role: "img", height: HEIGHT, "aria-label": options.title });
    this.lines = options.series.map((_, index) => svg("path", { class: `line s${index + 1}` }));
    this.area = svg("path", { class: "area" });
    this.grid = svg("g", { class: "grid" });
    this.cursor = svg("line", { class: "cursor", visibility: "hidden" });
    this.svg.append(this.grid, this.area, ...this.lines, this.cursor);
    this.element = el("figure", {}, el("figcaption", {}, el("h2", { title: options.hint }, options.title), el("span", { class: "legend" }, legend)), this.svg, el("p", { class: "hint" }, options.hint));
    this.svg.addEventListener("pointermove", (event) => this.point(/** @type {PointerEvent} */ (event)));
    this.svg.addEventListener("pointerleave", () => this.leave());
    new ResizeObserver(([{ contentRect }]) => this.resize(contentRect.width)).observe(this.element);
  }

  /** @param {number} width */
  resize(width) {
    this.width = Math.max(120, Math.round(width));
    this.svg.setAttribute("width", String(this.width));
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.draw();
  }

  /** @param {Point[]} points in order @param {number} seconds the time that is shown, up to the last point */
  show(points, seconds) {
    this.points = points;
    this.seconds = seconds;
    this.draw();
  }

  draw() {
    const end = this.points.at(-1)?.time ?? Date.now();
    const begin = end - 1000 * this.seconds;
    const shown = this.points.filter(({ time }) => time >= begin);
    const top = this.options.top ?? niceTop(Math.max(this.options.least ?? 0, ...shown.flatMap(({ values }) => values.map((value) => value ?? 0))));
    const x = (/** @type {number} */ time) => EDGE.left + ((time - begin) / (end - begin)) * (this.width - EDGE.left - EDGE.right);
    const y = (/** @type {number} */ value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);
    this.drawGrid(top, y);
    this.lines.forEach((line, index) => line.setAttribute("d", pathOf(shown, index, x, y)));
    this.area.setAttribute("d", areaOf(shown, x, y));
    this.scale = { begin, end };
    this.tell(shown);
  }

  /** @param {number} top @param {(value: number) => number} y */
  drawGrid(top, y) {
    const marks = [0, top / 2, top].flatMap((value) => {
      const line = svg("line", { x1: EDGE.left, x2: this.width - EDGE.right, y1: y(value), y2: y(value) });
      if (value === 0) return [line];
      const text = svg("text", { x: EDGE.left + 2, y: y(value) + 13 });
      text.textContent = this.options.format(value);
      return [line, text];
    });
    this.grid.replaceChildren(...marks);
  }

  /** The values under the pointer, or the last ones. @param {Point[]} shown */
  tell(shown) {
    const { under } = this;
    const point = under === null ? shown.at(-1) : shown.reduce((best, one) => (Math.abs(one.time - under) < Math.abs(best.time - under) ? one : best), shown[0]);
    const texts = this.options.series.map((_, index) => {
      const value = point?.values[index];
      return value === null || value === undefined ? "–" : this.options.format(value);
    });
    texts.forEach((text, index) => (this.values[index].textContent = text));
    const said = this.options.series.map((name, index) => `${name} ${texts[index]}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.options.title}: ${said}`);
  }

  /** @param {PointerEvent} event */
  point(event) {
    if (!this.scale || !this.points.length) return;
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - EDGE.left) / (this.width - EDGE.left - EDGE.right);
    this.under = this.scale.begin + Math.min(1, Math.max(0, share)) * (this.scale.end - this.scale.begin);
    const at = String(Math.round(event.clientX - box.left));
    for (const [name, value] of Object.entries({ x1: at, x2: at, y1: "0", y2: String(HEIGHT), visibility: "visible" })) this.cursor.setAttribute(name, value);
    this.tell(this.points);
  }

  leave() {
    this.under = null;
    this.cursor.setAttribute("visibility", "hidden");
    this.tell(this.points);
  }
}

/** @param {Point[]} points @param {number} index @param {(time: number) => number} x @param {(value: number) => number} y */
function pathOf(points, index, x, y) {
  let path = "";
  let last = 0;
  const usual = points.length > 1 ? (points[points.length - 1].time - points[0].time) / (points.length - 1) : 0;
  for (const { time, values } of points) {
    const value = values[index];
    if (value === null || value === undefined) continue;
    path += `${last && time - last < GAP * usual ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
    // A point alone is seen only if it has a length.
    if (!last || time - last >= GAP * usual) path += "h0.01";
    last = time;
  }
  return path;
}

/** The area below the first line, where it has no gaps. @param {Point[]} points @param {(time: number) => number} x @param {(value: number) => number} y */
function areaOf(points, x, y) {
  const whole = points.filter(({ values }) => values[0] !== null && values[0] !== undefined);
  if (whole.length < 2 || whole.length < points.length - 1) return "";
  const line = whole.map(({ time, values }) => `${x(time).toFixed(1)} ${y(values[0] ?? 0).toFixed(1)}`).join("L");
  return `M${x(whole[0].time).toFixed(1)} ${y(0)}L${line}L${x(whole[whole.length - 1].time).toFixed(1)} ${y(0)}Z`;
}

/** The next of 1, 2, 4, 6, 10, 20 … from a value on; half of each is a round number too. @param {number} value */
function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 4, 6, 10].find((step) => step * power >= value) ?? 20) * power;
}
