/**
 * The settings as a form beside the conversation.
 * @module
 */

import { button, byId, el } from "./dom.js";
import { groupsFor, parsedJson, shown } from "./fields.js";

/** @typedef {import("./settings.js").Values} Values */

export class SettingsPanel {
  /**
   * @param {import("./settings.js").Settings} settings
   * @param {() => void} onChange
   * @param {import("./api.js").Api} api
   */
  constructor(settings, onChange, api) {
    this.settings = settings;
    this.onChange = onChange;
    this.api = api;
    this.panel = byId("settings");
    this.opener = byId("open-settings");
    /** @type {Record<string, any>} */
    this.defaults = {};
    this.opener.addEventListener("click", () => this.toggle(this.panel.hidden));
    this.panel.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.toggle(false);
    });
    this.mark();
  }

  /** What the server does with a request that says nothing. @param {Record<string, any>} defaults */
  setDefaults(defaults) {
    this.defaults = defaults;
    this.opener.dataset.ready = "true";
    this.settings.others = groupsFor(defaults).Other ?? [];
    if (!this.panel.hidden) this.render();
  }

  /** @param {boolean} open @param {string} [id] the field to go to */
  toggle(open, id) {
    if (open) this.render();
    this.panel.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    document.body.classList.toggle("with-settings", open);
    if (!open) return this.opener.focus();
    const field = id ? byId(id) : byId("close-settings");
    for (let box = field.closest("details"); box; box = box.parentElement?.closest("details")) box.open = true;
    field.focus();
  }

  /** @param {Partial<Values>} values */
  set(values) {
    this.settings.set(values);
    this.changed();
  }

  changed() {
    this.mark();
    this.onChange();
  }

  mark() {
    const { changed } = this.settings;
    this.opener.textContent = changed ? `Settings (${changed})` : "Settings";
  }

  render() {
    const open = new Set([...this.panel.querySelectorAll("details[open]")].map((box) => /** @type {HTMLElement} */ (box).dataset.name));
    const groups = Object.entries(groupsFor(this.defaults)).map(([name, fields]) => this.group(name, fields.map((field) => this.field(field)), name === "Sampling" || open.has(name)));
    const head = el("div", { class: "panel-head" }, el("h2", {}, "Settings"), button("Reset", () => this.reset(), { class: "quiet" }), button("✕", () => this.toggle(false), { id: "close-settings", class: "quiet", "aria-label": "Close the settings" }));
    const note = el("p", { class: "hint" }, "An empty field leaves it to the server, whose own value stands in it in grey.");
    const { values } = this.settings;
    const parts = [
      this.group("System prompt", [this.area("set-system", "For new chats", "system", 3, "")], Boolean(values.system)),
      this.group("JSON schema", this.schemaFields(), values.schemaOn || open.has("JSON schema")),
      this.group("Tokens", this.tokenFields(), values.tokensOn || open.has("Tokens")),
      ...groups,
      this.group("Thinking", this.thinkingFields(), open.has("Thinking")),
      this.group("Grammar, tools, other fields", this.expertFields(), open.has("Grammar, tools, other fields")),
      this.group("Server", [this.keyField()], open.has("Server")),
    ];
    this.panel.replaceChildren(head, note, ...parts);
  }

  reset() {
    this.settings.reset();
    this.render();
    this.changed();
  }

  /** @param {string} name @param {HTMLElement[]} fields @param {boolean} open */
  group(name, fields, open) {
    return el("details", { class: "group", open, data: { name } }, el("summary", {}, name), el("div", { class: "fields" }, fields));
  }

  /** @param {import("./fields.js").Field} field */
  field(field) {
    const { name, label, hint, kind } = field;
    const id = `set-${name}`;
    const given = this.settings.values.fields[name] ?? "";
    const usual = shown(this.defaults[name]);
    /** @type {any} */
    let input;
    if (kind === "flag") {
      const words = /** @type {[string, string][]} */ ([["", usual ? `default (${usual})` : "default"], ["yes", "yes"], ["no", "no"]]);
      input = el("select", { id }, words.map(([value, text]) => el("option", { value, selected: value === given }, text)));
    } else if (kind === "lines") {
      input = el("textarea", { id, rows: "2", value: given, spellcheck: "false" });
    } else {
      const wide = kind === "number" ? { inputmode: "decimal" } : {};
      input = el("input", { id, ...wide, value: given, placeholder: usual, autocomplete: "off", spellcheck: "false" });
    }
    const described = hint ? `${id}-hint` : null;
    if (described) input.setAttribute("aria-describedby", described);
    input.addEventListener("input", () => {
      this.settings.setField(name, input.value);
      this.changed();
    });
    return el("div", { class: kind === "number" || kind === "flag" ? "field" : "field wide" }, el("label", { for: id }, label), input, hint ? el("small", { id: described }, hint) : null);
  }

  /** @param {string} id @param {string} label @param {keyof Values} name @param {number} rows @param {string} hint @param {boolean} [isJson] */
  area(id, label, name, rows, hint, isJson = false) {
    const fault = el("small", { class: "fault", id: `${id}-fault`, role: "status" });
    const area = /** @type {HTMLTextAreaElement} */ (el("textarea", { id, rows, spellcheck: "false", class: isJson ? "mono" : null, placeholder: hint, value: this.settings.values[name], "aria-describedby": `${id}-fault` }));
    const judge = () => (fault.textContent = isJson ? faultOf(area.value) : "");
    area.addEventListener("input", () => {
      this.set({ [name]: area.value });
      judge();
    });
    judge();
    return el("div", { class: "field wide" }, el("label", { for: id }, label), area, fault);
  }

  /** @param {string} id @param {string} label @param {keyof Values} name */
  check(id, label, name) {
    const box = /** @type {HTMLInputElement} */ (el("input", { type: "checkbox", id, checked: Boolean(this.settings.values[name]) }));
    box.addEventListener("change", () => this.set({ [name]: box.checked }));
    return el("div", { class: "field wide check" }, box, el("label", { for: id }, label));
  }

  /** @param {string} id @param {string} label @param {keyof Values} name @param {[string, string][]} words */
  choice(id, label, name, words) {
    const select = /** @type {HTMLSelectElement} */ (el("select", { id }, words.map(([value, text]) => el("option", { value, selected: value === this.settings.values[name] }, text))));
    select.addEventListener("change", () => this.set({ [name]: select.value }));
    return el("div", { class: "field" }, el("label", { for: id }, label), select);
  }

  schemaFields() {
    const example = '{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}';
    return [this.check("set-schema-on", "Answers are JSON of this schema", "schemaOn"), this.area("set-schema", "Schema", "schema", 8, example, true)];
  }

  tokenFields() {
    const number = /** @type {HTMLInputElement} */ (el("input", { type: "number", id: "set-alternatives", min: "0", max: "20", value: String(this.settings.values.alternatives) }));
    number.addEventListener("input", () => number.value !== "" && this.set({ alternatives: Number(number.value) }));
    return [
      this.check("set-tokens-on", "Show tokens with their probabilities", "tokensOn"),
      el("div", { class: "field" }, el("label", { for: "set-alternatives" }, "Alternatives"), number),
      this.check("set-after", "Probabilities after the samplers", "afterSampling"),
    ];
  }

  thinkingFields() {
    return [
      this.choice("set-thinking", "Thinking", "thinking", [["default", "default"], ["on", "on"], ["off", "off"]]),
      this.choice("set-effort", "Effort", "effort", [["", "default"], ["low", "low"], ["medium", "medium"], ["high", "high"]]),
      this.choice("set-reasoning", "Thoughts", "reasoning", [["", "default"], ["deepseek", "apart"], ["none", "in the text"]]),
    ];
  }

  expertFields() {
    return [
      this.area("set-grammar", "Grammar (GBNF)", "grammar", 4, 'root ::= "yes" | "no"'),
      this.area("set-tools", "Tools (JSON array)", "tools", 4, '[{"type": "function", "function": {"name": "…"}}]', true),
      this.area("set-extra", "Further fields of the request (JSON object)", "extra", 3, "{}", true),
    ];
  }

  keyField() {
    const input = /** @type {HTMLInputElement} */ (el("input", { type: "password", id: "set-key", autocomplete: "off", value: this.api.key }));
    input.addEventListener("input", () => (this.api.key = input.value.trim()));
    // A browser offers to keep passwords only of forms, and says so on its console.
    return el("form", { class: "field wide", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, el("label", { for: "set-key" }, "API key"), input, el("small", {}, "kept in this browser"));
  }
}

/** @param {string} text */
function faultOf(text) {
  if (!text.trim()) return "";
  try {
    parsedJson("Not JSON", text);
    return "";
  } catch (error) {
    return /** @type {Error} */ (error).message;
  }
}
