/**
 * Elements from plain values. Text goes in as text nodes and never as HTML, so nothing that a model or a file
 * says can become an element.
 * @module
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @param {string} tag
 * @param {Record<string, any>} [props] `class`, `data` (an object), `on` (listeners by event), booleans for
 *   attributes without a value, everything else as an attribute; null and undefined are left out.
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (name === "data") {
      Object.assign(node.dataset, value);
    } else if (name === "value") {
      /** @type {any} */ (node).value = value;
    } else {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return node;
}

/** @param {any} child @returns {Node | string} */
function asNode(child) {
  return child instanceof Node ? child : String(child);
}

/**
 * A button with a text.
 * @param {string} text
 * @param {(event: Event) => void} onClick
 * @param {Record<string, any>} [props]
 */
export function button(text, onClick, props = {}) {
  return /** @type {HTMLButtonElement} */ (el("button", { type: "button", ...props, on: { click: onClick } }, text));
}

/**
 * The element with an id; the pages have all that are asked for.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** Copies text, and says so on the button for a moment. @param {HTMLElement} target @param {string} text */
export async function copyFrom(target, text) {
  const before = target.textContent;
  target.textContent = (await copied(text)) ? "Copied" : "Not copied";
  setTimeout(() => (target.textContent = before), 1500);
}

/** @param {string} text */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelection(text);
  }
}

/** Pages that came over plain HTTP from another machine have no clipboard but this. @param {string} text */
function copiedBySelection(text) {
  const area = /** @type {HTMLTextAreaElement} */ (el("textarea", { class: "visually-hidden", "aria-hidden": "true" }));
  area.value = text;
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}
