/**
 * What the page asks and tells in passing.
 * @module
 */

import { button, byId } from "./dom.js";

const TOAST_MS = 8000;

/** Asks for an API key; null where none is given. @returns {Promise<string | null>} */
export function askForKey() {
  const dialog = byId("key-dialog");
  const input = byId("key");
  byId("key-reason").textContent = "It is kept in this browser and sent to this server alone.";
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? input.value.trim() : null), { once: true });
  });
}

let timer = 0;

/**
 * Says something for a moment.
 * @param {string} text @param {string} [label] a button's @param {() => void} [onClick]
 */
export function toast(text, label, onClick) {
  const box = byId("toast");
  const hide = () => (box.hidden = true);
  box.replaceChildren(text);
  if (label && onClick) {
    box.append(button(label, () => {
      hide();
      onClick();
    }, { class: "quiet" }));
  }
  box.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(hide, TOAST_MS);
}
