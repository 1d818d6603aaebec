/**
 * The list of conversations.
 * @module
 */

import { byId, el } from "./dom.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

const DAY = 86_400_000;

export class Sidebar {
  /** @param {(id: string) => void} onOpen */
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.nav = byId("sidebar");
    this.list = byId("conversations");
    this.search = byId("search");
    this.opener = byId("open-sidebar");
    /** @type {Conversation[]} */
    this.conversations = [];
    /** @type {string | null} */
    this.current = null;
    this.search.addEventListener("input", () => this.render());
    this.list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.onKey(event));
    this.opener.addEventListener("click", () => this.toggle(true));
    byId("close-sidebar").addEventListener("click", () => this.toggle(false));
  }

  /** On small screens the list lies over the page. @param {boolean} open */
  toggle(open) {
    this.nav.classList.toggle("open", open);
    this.opener.setAttribute("aria-expanded", String(open));
    if (open) byId("new").focus();
    else if (this.nav.contains(document.activeElement)) this.opener.focus();
  }

  get isOpen() {
    return this.nav.classList.contains("open");
  }

  /** @param {Conversation[]} conversations @param {string | null} current */
  show(conversations, current) {
    this.conversations = conversations;
    this.current = current;
    this.render();
  }

  render() {
    const word = this.search.value.trim().toLowerCase();
    const found = word ? this.conversations.filter((conversation) => matches(conversation, word)) : this.conversations;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.conversation;
    /** @type {HTMLElement[]} */
    const rows = [];
    let age = "";
    for (const { id, title, updated } of found) {
      const next = ageOf(updated);
      if (next !== age) rows.push(el("li", { class: "age" }, next));
      age = next;
      const props = { type: "button", class: "conversation", "aria-current": id === this.current ? "true" : null, title, data: { conversation: id }, on: { click: () => this.onOpen(id) } };
      rows.push(el("li", {}, el("button", props, title)));
    }
    if (!found.length) rows.push(el("li", { class: "age" }, word ? "Nothing found" : "No conversations yet"));
    this.list.replaceChildren(...rows);
    if (focused) /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-conversation="${focused}"]`))?.focus();
  }

  /** The conversation above or below one. @param {number} step */
  neighbour(step) {
    const at = this.conversations.findIndex(({ id }) => id === this.current);
    return this.conversations[at < 0 ? 0 : at + step]?.id;
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const step = /** @type {Record<string, number>} */ ({ ArrowDown: 1, ArrowUp: -1 })[event.key];
    if (!step || event.altKey) return;
    const buttons = /** @type {HTMLElement[]} */ ([...this.list.querySelectorAll("button")]);
    buttons[buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + step]?.focus();
    event.preventDefault();
  }
}

/** @param {Conversation} conversation @param {string} word */
function matches({ title, messages }, word) {
  return title.toLowerCase().includes(word) || Object.values(messages).some(({ content }) => content.toLowerCase().includes(word));
}

/** @param {number} time */
function ageOf(time) {
  const today = new Date().setHours(0, 0, 0, 0);
  if (time >= today) return "Today";
  if (time >= today - DAY) return "Yesterday";
  if (time >= today - 7 * DAY) return "This week";
  return "Earlier";
}
