/**
 * The dashboard: reads `/metrics` again and again and plots what has changed.
 * @module
 */

import { Api } from "./api.js";
import { byId, el } from "./dom.js";
import { growth, mean, quantile, rate, Reading } from "./metrics.js";
import { ModelPicker } from "./model_picker.js";
import { Plot } from "./plot.js";
import { askForKey } from "./prompts.js";
import { ServerInfo } from "./server.js";
import { Settings } from "./settings.js";
import { showSlots } from "./slots.js";

/** Quantiles are those of the last so many milliseconds. */
const WINDOW_MS = 30_000;
const LONGEST_MS = 3_600_000;
const KEY = "rustllm.dashboard";

const round = (/** @type {number} */ value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 || value === 0 ? 1 : 2));
const perSecond = (/** @type {number} */ value) => `${round(value)}/s`;
const duration = (/** @type {number} */ value) => (value < 1 ? `${round(1000 * value)} ms` : `${round(value)} s`);
const share = (/** @type {number} */ value) => `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
const count = (/** @type {number} */ value) => value.toFixed(value % 1 ? 1 : 0);
const bytes = (/** @type {number} */ value) => (value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB` : `${(value / 1e6).toFixed(0)} MB`);

/**
 * @typedef {object} Row
 * @property {import("./plot.js").Options} plot
 * @property {(now: Reading, last: Reading, before: Reading, info: ServerInfo) => (number | null)[]} read `last` is the
 *   reading before this one, `before` one at the begin of the window
 */

const TTFT = "vllm:time_to_first_token_seconds";
const BETWEEN = "vllm:inter_token_latency_seconds";
const WAITED = "vllm:request_queue_time_seconds";

/** @type {Row[]} */
const ROWS = [
  {
    plot: { title: "Throughput", hint: "Tokens a second, over all requests", series: ["generated", "prompt"], format: perSecond },
    read: (now, last) => [rate(last, now, "llamacpp:tokens_predicted_total"), rate(last, now, "llamacpp:prompt_tokens_total")],
  },
  {
    plot: { title: "Time to first token", hint: "From a request's arrival, of the last 30 seconds", series: ["median", "95 %"], format: duration },
    read: (now, _, before) => [quantile(before, now, TTFT, 0.5), quantile(before, now, TTFT, 0.95)],
  },
  {
    plot: { title: "Between tokens", hint: "From one token of an answer to the next, of the last 30 seconds", series: ["mean", "95 %"], format: duration },
    read: (now, _, before) => [mean(before, now, BETWEEN), quantile(before, now, BETWEEN, 0.95)],
  },
  {
    plot: { title: "Slots", hint: "Requests that run, and slots that there are", series: ["busy", "all"], format: count, least: 2 },
    read: (now, _last, _before, info) => [now.value("llamacpp:requests_processing"), info.props.total_slots ?? null],
  },
  {
    plot: { title: "Queue", hint: "Requests that wait for a slot", series: ["waiting"], format: count, least: 2 },
    read: (now) => [now.value("llamacpp:requests_deferred")],
  },
  {
    plot: { title: "Time in the queue", hint: "From a request's arrival to its slot, of the last 30 seconds", series: ["median", "95 %"], format: duration },
    read: (now, _, before) => [quantile(before, now, WAITED, 0.5), quantile(before, now, WAITED, 0.95)],
  },
  {
    plot: { title: "Cache", hint: "Share of its blocks that run; share of prompt tokens that were in it, of the last 30 seconds", series: ["in use", "prompts found"], format: share, top: 1 },
    read: (now, _, before) => {
      const [asked, found] = [growth(before, now, "vllm:prefix_cache_queries_total"), growth(before, now, "vllm:prefix_cache_hits_total")];
      return [now.value("vllm:kv_cache_usage_perc"), asked && found !== null ? found / asked : null];
    },
  },
  {
    plot: { title: "Memory", hint: "Of the server's process", series: ["resident"], format: bytes },
    read: (now) => [now.value("process_resident_memory_bytes")],
  },
];

class Dashboard {
  constructor() {
    this.api = new Api(askForKey);
    this.server = new ServerInfo(this.api);
    this.settings = new Settings();
    this.picker = new ModelPicker(this.server, this.settings, () => this.restart());
    this.plots = ROWS.map(({ plot }) => new Plot(plot));
    /** @type {Reading[]} */
    this.readings = [];
    /** @type {import("./plot.js").Point[][]} */
    this.points = ROWS.map(() => []);
    this.paused = false;
    this.slotsWereBusy = false;
    this.timer = 0;
    byId("plots").replaceChildren(...this.plots.map(({ element }) => element));
    this.listen();
  }

  listen() {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    for (const [id, usual] of [["pace", "2"], ["span", "10"]]) {
      const select = byId(id);
      select.value = kept[id] ?? usual;
      if (!select.value) select.value = usual;
      select.addEventListener("change", () => {
        localStorage.setItem(KEY, JSON.stringify({ pace: byId("pace").value, span: byId("span").value }));
        this.draw();
        this.next(0);
      });
    }
    byId("pause").addEventListener("click", () => {
      this.paused = !this.paused;
      byId("pause").setAttribute("aria-pressed", String(this.paused));
      byId("pause").textContent = this.paused ? "Go on" : "Pause";
      this.next(0);
    });
  }

  async begin() {
    try {
      await this.server.load((text) => this.notice(text));
      await this.picker.show();
    } catch (error) {
      this.notice(/** @type {Error} */ (error).message);
    }
    this.next(0);
  }

  /** Another model has other counts. */
  restart() {
    this.readings = [];
    this.points = ROWS.map(() => []);
    this.draw();
    this.next(0);
  }

  /** @param {number} wait milliseconds until the next reading */
  next(wait) {
    clearTimeout(this.timer);
    if (!this.paused) this.timer = setTimeout(() => this.read().finally(() => this.next(1000 * Number(byId("pace").value))), wait);
  }

  get query() {
    const { model } = this.settings.values;
    // To look at a model must not load it.
    return this.server.isRouter ? `?model=${encodeURIComponent(model)}&autoload=false` : "";
  }

  async read() {
    try {
      const reading = new Reading(await this.api.text(`metrics${this.query}`), Date.now());
      if (!this.paused) this.take(reading);
      this.notice("");
    } catch (error) {
      const { status, message } = /** @type {import("./api.js").ApiError} */ (error);
      this.notice(message, status === 501);
    }
    await this.readSlots();
  }

  /** @param {Reading} now */
  take(now) {
    const last = this.readings.at(-1);
    const name = "llamacpp:n_decode_total";
    // A server that was started anew counts from zero.
    if (last && growth(last, now, name) === null) this.readings = [];
    this.readings.push(now);
    this.readings = this.readings.filter(({ time }) => now.time - time <= 2 * WINDOW_MS);
    const before = this.readings.findLast(({ time }) => now.time - time >= WINDOW_MS) ?? this.readings[0];
    const previous = this.readings.at(-2);
    if (!previous) return;
    ROWS.forEach(({ read }, index) => {
      this.points[index].push({ time: now.time, values: read(now, previous, before, this.server) });
      while (now.time - this.points[index][0].time > LONGEST_MS) this.points[index].shift();
    });
    this.draw();
  }

  draw() {
    const seconds = 60 * Number(byId("span").value);
    this.plots.forEach((plot, index) => plot.show(this.points[index], seconds));
    this.tiles();
  }

  /** The numbers that one looks for first. */
  tiles() {
    /** @param {number} row @param {number} [index] */
    const latest = (row, index = 0) => this.points[row].at(-1)?.values[index] ?? null;
    const [busy, all, waiting] = [latest(3), latest(3, 1), latest(4)];
    /** @type {[string, string][]} */
    const tiles = [
      ["Generated", shown(latest(0), perSecond)],
      ["First token", shown(latest(1), duration)],
      ["Busy slots", busy === null ? "–" : `${busy}${all ? ` of ${all}` : ""}`],
      ["Waiting", shown(waiting, count)],
      ["Cache in use", shown(latest(6), share)],
      ["Memory", shown(latest(7), bytes)],
    ];
    byId("tiles").replaceChildren(...tiles.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  /** Slots are asked for only while some are busy: to ask keeps a model awake that might go to sleep. */
  async readSlots() {
    const running = this.readings.at(-1)?.value("llamacpp:requests_processing") ?? 0;
    if (!running && !this.slotsWereBusy) return showSlots([], this.server.props.total_slots);
    this.slotsWereBusy = running > 0;
    try {
      showSlots(await this.api.get(`slots${this.query}`), this.server.props.total_slots);
    } catch (error) {
      byId("slots-note").textContent = /** @type {Error} */ (error).message;
    }
  }

  /** @param {string} text @param {boolean} [isOff] whether the endpoint is switched off */
  notice(text, isOff = false) {
    const box = byId("notice");
    box.hidden = !text;
    const help = isOff ? [" The plots are made from it: ", el("code", {}, "rustllm-serve --metrics …"), " or, in the environment, ", el("code", {}, "LLAMA_ARG_ENDPOINT_METRICS=1"), "."] : [];
    box.replaceChildren(text, ...help);
    document.body.classList.toggle("without-metrics", isOff);
  }
}

/** @param {number | null} value @param {(value: number) => string} format */
function shown(value, format) {
  return value === null ? "–" : format(value);
}

await new Dashboard().begin();
