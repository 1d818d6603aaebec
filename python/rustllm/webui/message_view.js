/**
 * A message with what can be done with it.
 * @module
 */

import { button, copyFrom, el } from "./dom.js";
import { codeBlock, show } from "./markdown.js";
import { TokenView } from "./tokens.js";

/** @typedef {import("./conversation.js").Message} Message */

/**
 * @typedef {object} Actions
 * @property {(message: Message) => void} regenerate
 * @property {(message: Message) => void} goOn
 * @property {(message: Message, text: string) => void} edit a user's message is answered anew, an answer is kept as it is edited
 * @property {(message: Message, step: number) => void} branch shows the sibling so many steps away
 * @property {(message: Message, index: number, text: string) => void} choose goes on with another token at a place
 * @property {(message: Message, results: string[]) => void} answerCalls
 */

const ROLES = { user: "You", assistant: "Assistant", tool: "Tool result" };

export class MessageView {
  /** @param {Message} message @param {Actions} actions */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.showsTokens = true;
    this.body = el("div", { class: "body" });
    this.text = el("div", { class: "markdown" });
    this.thought = el("div", { class: "markdown" });
    this.summary = el("summary", {}, "Thought");
    this.details = el("details", { class: "thought", hidden: true }, this.summary, this.thought);
    this.calls = el("div", { class: "calls" });
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    this.stats = el("span", { class: "stats" });
    this.branches = el("span", { class: "branches" });
    this.buttons = el("span", { class: "buttons" });
    /** Made when it is first shown. @type {TokenView | null} */
    this.tokens = null;
    this.body.append(this.details, this.text, this.calls, this.error);
    const foot = el("div", { class: "foot" }, this.branches, this.buttons, this.stats);
    this.element = el(
      "article",
      { class: `message ${message.role}`, "aria-label": ROLES[message.role], data: { id: message.id } },
      el("h2", { class: "visually-hidden" }, ROLES[message.role]),
      this.body,
      foot,
    );
  }

  /**
   * Shows the message as it is now.
   * @param {{running: boolean, progress: string, index: number, count: number}} state `index` of `count` siblings, from 0
   */
  update({ running, progress, index, count }) {
    const { message } = this;
    this.element.setAttribute("aria-busy", String(running));
    this.showThought(running);
    const hasTokens = Boolean(message.tokens?.length);
    this.showContent();
    this.showCalls(running);
    this.error.hidden = !message.error;
    this.error.textContent = message.error ?? "";
    this.stats.textContent = running && !message.stats?.tokens ? progress || "Waiting…" : statsOf(message);
    this.showBranches(index, count);
    if (!this.body.classList.contains("editing")) this.showButtons(running, hasTokens);
  }

  /** The text, or its tokens. */
  showContent() {
    const { message, actions } = this;
    const asTokens = this.showsTokens && Boolean(message.tokens?.length);
    if (asTokens && !this.tokens) {
      this.tokens = new TokenView((index, text) => actions.choose(message, index, text));
      this.text.after(this.tokens.element);
    }
    this.text.hidden = asTokens;
    if (this.tokens) this.tokens.element.hidden = !asTokens;
    if (asTokens) this.tokens?.show(message.tokens ?? []);
    else this.showText();
  }

  showText() {
    const { message } = this;
    // What somebody typed is shown as typed; what a model writes is Markdown.
    if (message.json && message.content) this.text.replaceChildren(codeBlock(pretty(message.content), "json"));
    else if (message.role === "assistant") show(this.text, message.content);
    else this.text.replaceChildren(el("p", { class: "typed" }, message.content));
  }

  /** @param {boolean} running */
  showThought(running) {
    const { reasoning, content } = this.message;
    this.details.hidden = !reasoning;
    if (!reasoning) return;
    this.summary.textContent = running && !content ? "Thinking…" : "Thought";
    show(this.thought, reasoning);
  }

  /** @param {boolean} running */
  showCalls(running) {
    const calls = this.message.toolCalls ?? [];
    this.calls.hidden = !calls.length;
    if (!calls.length || (!running && this.calls.querySelector("form"))) return;
    this.calls.replaceChildren(...calls.map((call) => el("div", { class: "call" }, el("p", {}, "Calls ", el("code", {}, call.name)), codeBlock(pretty(call.arguments), "json"))));
    if (!running) this.calls.append(this.resultForm(calls));
  }

  /** @param {import("./conversation.js").ToolCall[]} calls */
  resultForm(calls) {
    const inputs = calls.map(({ name }) => /** @type {HTMLTextAreaElement} */ (el("textarea", { rows: "2", "aria-label": `Result of ${name}`, placeholder: `Result of ${name}` })));
    const send = el("button", { type: "submit", class: "quiet" }, calls.length > 1 ? "Send the results" : "Send the result");
    const form = el("form", { class: "results" }, inputs, send);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.actions.answerCalls(this.message, inputs.map((input) => input.value));
    });
    return form;
  }

  /** @param {number} index @param {number} count */
  showBranches(index, count) {
    this.branches.hidden = count < 2;
    const text = `${index + 1}/${count}`;
    if (count < 2 || this.branches.dataset.text === text) return;
    this.branches.dataset.text = text;
    /** @param {string} sign @param {number} step @param {string} label */
    const arrow = (sign, step, label) => button(sign, () => this.actions.branch(this.message, step), { class: "quiet", "aria-label": label, "data-step": step, disabled: index + step < 0 || index + step >= count });
    this.branches.replaceChildren(arrow("‹", -1, "Previous version"), el("span", { "aria-label": `Version ${index + 1} of ${count}`, role: "img" }, text), arrow("›", 1, "Next version"));
  }

  /** @param {boolean} running @param {boolean} hasTokens */
  showButtons(running, hasTokens) {
    const { message, actions } = this;
    const key = `${running} ${hasTokens} ${message.finish}`;
    if (this.buttons.dataset.key === key) return;
    this.buttons.dataset.key = key;
    this.buttons.replaceChildren();
    if (running) return;
    const quiet = { class: "quiet" };
    const copy = button("Copy", () => copyFrom(copy, message.content), quiet);
    this.buttons.append(copy, button("Edit", () => this.edit(), quiet));
    if (message.role !== "assistant") return;
    this.buttons.append(button("Regenerate", () => actions.regenerate(message), quiet));
    if (message.finish !== "stop" && message.content && !message.toolCalls) {
      this.buttons.append(button("Continue", () => actions.goOn(message), quiet));
    }
    if (hasTokens) this.buttons.append(this.tokenButton());
  }

  tokenButton() {
    const toggle = button("Tokens", () => {
      this.showsTokens = !this.showsTokens;
      toggle.setAttribute("aria-pressed", String(this.showsTokens));
      this.showContent();
    }, { class: "quiet", "aria-pressed": String(this.showsTokens) });
    return toggle;
  }

  /** Puts a field in the text's place. */
  edit() {
    const { message, actions } = this;
    if (this.body.classList.contains("editing")) return;
    const area = /** @type {HTMLTextAreaElement} */ (el("textarea", { class: "editor", "aria-label": "Edit the message", rows: "4" }));
    area.value = message.content;
    const close = () => {
      this.body.classList.remove("editing");
      form.remove();
      /** @type {HTMLElement | null} */ (this.buttons.querySelector("button:nth-child(2)"))?.focus();
    };
    const save = () => {
      close();
      actions.edit(message, area.value);
    };
    const label = message.role === "user" ? "Send" : "Save";
    const form = el("form", { class: "edit" }, area, el("div", { class: "row" }, el("button", { type: "submit", class: "primary" }, label), button("Cancel", close)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      save();
    });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && message.role === "user" && !event.isComposing) {
        event.preventDefault();
        save();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    });
    this.body.classList.add("editing");
    this.body.append(form);
    area.style.height = `${Math.min(480, area.scrollHeight + 4)}px`;
    area.focus();
  }
}

/** @param {Message} message */
function statsOf({ stats, finish }) {
  if (!stats?.tokens) return finish === "stopped" ? "stopped" : "";
  const parts = [`${stats.tokens} ${stats.tokens === 1 ? "token" : "tokens"}`];
  if (stats.perSecond) parts.push(`${stats.perSecond.toFixed(stats.perSecond < 10 ? 1 : 0)} tokens/s`);
  if (stats.first) parts.push(`first after ${stats.first < 1000 ? `${stats.first} ms` : `${(stats.first / 1000).toFixed(1)} s`}`);
  const ends = /** @type {Record<string, string>} */ ({ stopped: "stopped", length: "cut at the limit" });
  if (finish && ends[finish]) parts.push(ends[finish]);
  return parts.join(" · ");
}

/** JSON on several lines, where it is whole. @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
