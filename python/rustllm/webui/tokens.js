/**
 * An answer token by token, coloured by probability, with the alternatives of the token under the pointer.
 * @module
 */

import { button, el } from "./dom.js";

/** @typedef {import("./conversation.js").Token} Token */

const percent = (/** @type {number} */ p) => (p >= 0.9995 ? "100 %" : p < 0.001 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`);

/** Blanks and line breaks as signs, for lists where they could not be seen. @param {string} text */
export const visible = (text) => (text === "" ? "(end)" : text.replace(/ /g, "␣").replace(/\n/g, "↵").replace(/\t/g, "⇥"));

let views = 0;

export class TokenView {
  /** @param {(index: number, text: string) => void} onChoose another token was chosen at a place; the answer goes on from there */
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.prefix = `tokens-${(views += 1)}`;
    /** @type {Token[]} */
    this.tokens = [];
    this.at = -1;
    this.list = el("div", {
      class: "tokens",
      role: "listbox",
      tabindex: "0",
      "aria-label": "Tokens by probability. Arrow keys move, Enter shows the alternatives.",
      on: {
        keydown: (/** @type {Event} */ event) => this.onKey(/** @type {KeyboardEvent} */ (event)),
        pointerover: (/** @type {Event} */ event) => this.point(event),
        click: (/** @type {Event} */ event) => this.point(event),
        focus: () => this.select(Math.max(0, this.at)),
      },
    });
    this.popup = el("div", { class: "alternatives", role: "group", "aria-label": "Alternatives", hidden: true });
    this.element = el("div", { class: "token-view", on: { pointerleave: () => this.hide(), focusout: (/** @type {Event} */ event) => this.leave(/** @type {FocusEvent} */ (event)) } }, legend(), this.list, this.popup);
  }

  /** Shows tokens; those that are there already stay. @param {Token[]} tokens */
  show(tokens) {
    if (tokens.length < this.tokens.length) {
      this.list.replaceChildren();
      this.hide();
    }
    for (let index = this.list.childElementCount; index < tokens.length; index += 1) this.list.append(this.span(tokens[index], index));
    this.tokens = tokens.slice();
  }

  /** @param {Token} token @param {number} index */
  span({ text, p, top }, index) {
    const isBest = p === null || !top.length || p >= top[0].p - 1e-9;
    const color = p === null ? "given" : `p${Math.min(9, Math.floor(p * 10))}`;
    // What is only blanks has no name that a screen reader could say.
    const name = text.trim() === "" ? `Blank ${JSON.stringify(text)}` : null;
    return el("span", { id: `${this.prefix}-${index}`, "aria-label": name, class: `token ${color}${isBest ? "" : " other"}`, role: "option", "aria-selected": "false", data: { index } }, text === "" ? "∅" : text);
  }

  /** @param {Event} event */
  point(event) {
    const token = /** @type {HTMLElement} */ (event.target).closest(".token");
    if (token) this.select(Number(/** @type {HTMLElement} */ (token).dataset.index));
  }

  /** @param {number} index */
  select(index) {
    const token = this.tokens[index];
    if (!token || (index === this.at && !this.popup.hidden)) return;
    this.list.children[this.at]?.setAttribute("aria-selected", "false");
    this.at = index;
    const span = /** @type {HTMLElement} */ (this.list.children[index]);
    span.setAttribute("aria-selected", "true");
    this.list.setAttribute("aria-activedescendant", span.id);
    this.popup.replaceChildren(...this.rows(token, index));
    this.popup.hidden = false;
    this.place(span);
  }

  /** @param {Token} token @param {number} index */
  rows(token, index) {
    if (token.p === null) return [el("p", { class: "hint" }, "This was there before the answer went on.")];
    const top = token.top.some(({ text }) => text === token.text) ? token.top : [...token.top, { text: token.text, p: token.p }];
    return top.map(({ text, p }) => {
      const taken = text === token.text;
      const bar = /** @type {HTMLMeterElement} */ (el("meter", { min: "0", max: "1", "aria-hidden": "true" }));
      bar.value = p;
      const label = taken ? `${visible(text)}, taken, ${percent(p)}` : `${visible(text)}, ${percent(p)}: go on from here with it`;
      // Bytes that are no text alone cannot be put into a request.
      const row = button("", () => this.onChoose(index, text), { class: "alternative", "aria-label": label, disabled: taken || text === "" || text.startsWith("\\x") });
      row.append(el("span", { class: taken ? "text taken" : "text" }, visible(text)), bar, el("span", { class: "number" }, percent(p)));
      return row;
    });
  }

  /** Puts the alternatives below a token, within the view. @param {HTMLElement} span */
  place(span) {
    const around = this.element.getBoundingClientRect();
    const box = span.getClientRects()[span.getClientRects().length - 1] ?? span.getBoundingClientRect();
    const left = Math.min(box.left - around.left, around.width - this.popup.offsetWidth);
    this.popup.style.left = `${Math.max(0, left)}px`;
    this.popup.style.top = `${box.bottom - around.top + 2}px`;
  }

  hide() {
    this.popup.hidden = true;
    this.list.children[this.at]?.setAttribute("aria-selected", "false");
  }

  /** @param {FocusEvent} event */
  leave({ relatedTarget }) {
    if (!this.element.contains(/** @type {Node | null} */ (relatedTarget))) this.hide();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const steps = /** @type {Record<string, number>} */ ({ ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -1e9, End: 1e9 });
    if (event.key === "Enter") {
      /** @type {HTMLElement | null} */ (this.popup.querySelector("button:not(:disabled)"))?.focus();
    } else if (event.key in steps) {
      this.select(Math.min(this.tokens.length - 1, Math.max(0, this.at + steps[event.key])));
      this.list.children[this.at]?.scrollIntoView({ block: "nearest" });
    } else {
      return;
    }
    event.preventDefault();
  }
}

function legend() {
  const steps = [0, 2, 4, 6, 8, 9].map((step) => el("span", { class: `token p${step}` }, "\u00A0\u00A0"));
  return el("p", { class: "legend" }, "unlikely ", steps, " likely · ", el("span", { class: "other" }, "underlined"), ": not the most likely");
}
