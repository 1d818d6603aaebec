/**
 * The keys of the page, and the dialog that lists them.
 * @module
 */

import { byId, el } from "./dom.js";

const isMac = /Mac|iP(hone|ad)/.test(navigator.platform);
const COMMAND = isMac ? "⌘" : "Ctrl";

/** What the dialog says; the rows stand in the order of use. @type {[string[], string][]} */
const ROWS = [
  [["Enter"], "Send"],
  [["Shift", "Enter"], "New line"],
  [["Esc"], "Stop the answer; close what is open"],
  [[COMMAND, "K"], "New chat"],
  [["Alt", "↑"], "Conversation above"],
  [["Alt", "↓"], "Conversation below"],
  [["↑"], "In an empty field: edit the last message"],
  [["Alt", "←"], "Previous version of the last answer"],
  [["Alt", "→"], "Next version of the last answer"],
  [[COMMAND, ","], "Settings"],
  [["/"], "To the message field"],
  [["?"], "This list"],
];

/**
 * @typedef {object} Commands
 * @property {() => void} stop
 * @property {() => void} start a new chat
 * @property {(step: number) => void} move to another conversation
 * @property {(step: number) => void} version of the last answer
 * @property {() => void} editLast
 * @property {() => void} settings
 * @property {() => void} focus the message field
 */

/** @param {Commands} commands */
export function listen(commands) {
  const dialog = byId("help-dialog");
  byId("shortcuts").replaceChildren(...ROWS.flatMap(([keys, what]) => [el("dt", {}, keys.map((key) => el("kbd", {}, key))), el("dd", {}, what)]));
  byId("help").addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const command = commandOf(event, commands, () => dialog.showModal());
    if (!command) return;
    event.preventDefault();
    command();
  });
}

/**
 * @param {KeyboardEvent} event @param {Commands} commands @param {() => void} help
 * @returns {(() => void) | undefined}
 */
function commandOf(event, commands, help) {
  const { key, altKey, ctrlKey, metaKey } = event;
  const command = isMac ? metaKey : ctrlKey;
  if (command && !altKey && key.toLowerCase() === "k") return commands.start;
  if (command && !altKey && key === ",") return commands.settings;
  if (command && key === "/") return help;
  if (ctrlKey || metaKey) return undefined;
  if (altKey) {
    const steps = /** @type {Record<string, () => void>} */ ({
      ArrowUp: () => commands.move(-1),
      ArrowDown: () => commands.move(1),
      ArrowLeft: () => commands.version(-1),
      ArrowRight: () => commands.version(1),
    });
    return steps[key];
  }
  if (key === "Escape") return commands.stop;
  const target = /** @type {HTMLElement} */ (event.target);
  if (key === "ArrowUp" && target.id === "input" && !(/** @type {HTMLTextAreaElement} */ (target).value)) return commands.editLast;
  if (target.matches("input, textarea, select")) return undefined;
  if (key === "?") return help;
  return key === "/" ? commands.focus : undefined;
}
