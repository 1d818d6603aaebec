/**
 * Markdown within a line: emphasis, code, links.
 * @module
 */

import { el } from "./dom.js";

/** Where links may lead. Everything else, `javascript:` above all, stays text. */
const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** A text longer than this is shown as it is: nobody writes such a paragraph, and searching it takes long. */
const MAX_LENGTH = 20_000;

const MAX_DEPTH = 6;

/** Where anything but text can begin. */
const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g;

/** @typedef {[Node | string, number]} Found a node, and where the text goes on behind it */

/** Longest first: two stars are not one star twice. @type {[string, string][]} */
const MARKS = [["***", "strong"], ["___", "strong"], ["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];

/**
 * The nodes of a text.
 * @param {string} text
 * @param {number} [depth]
 * @returns {(Node | string)[]}
 */
export function inline(text, depth = 0) {
  if (depth > MAX_DEPTH || text.length > MAX_LENGTH) return [text];
  /** @type {(Node | string)[]} */
  const nodes = [];
  let [from, at] = [0, 0];
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const special = SPECIAL.exec(text);
    if (!special) break;
    at = special.index;
    const found = nodeAt(text, at, depth);
    if (!found) {
      at += /** @type {string} */ (special[0]).length;
      continue;
    }
    const [node, next] = found;
    // Blanks before a line break are how Markdown asks for it.
    const before = text.slice(from, at);
    nodes.push(text[at] === "\n" ? before.replace(/ +$/, "") : before, node);
    from = at = next;
  }
  nodes.push(text.slice(from));
  return nodes.filter((node) => node !== "");
}

/** @param {string} text @param {number} at @param {number} depth @returns {Found | null} */
function nodeAt(text, at, depth) {
  switch (text[at]) {
    case "\n":
      return [el("br"), at + 1];
    case "\\":
      return escaped(text, at);
    case "`":
      return codeAt(text, at);
    case "!":
      return text[at + 1] === "[" ? linkAt(text, at + 1, depth) : null;
    case "[":
      return linkAt(text, at, depth);
    case "<":
      return bracketedAt(text, at);
    case "h":
      return addressAt(text, at);
    default:
      return emphasisAt(text, at, depth);
  }
}

/** @param {string} text @param {number} at @returns {Found | null} */
function escaped(text, at) {
  const next = text[at + 1] ?? "";
  if (next === "\n") return [el("br"), at + 2];
  return /[!-/:-@[-`{-~]/.test(next) ? [next, at + 2] : null;
}

/** @param {string} text @param {number} at @returns {Found | null} */
function codeAt(text, at) {
  const marks = /^`+/.exec(text.slice(at, at + 16))?.[0] ?? "`";
  let end = at + marks.length;
  while (true) {
    end = text.indexOf(marks, end);
    if (end < 0) return null;
    let behind = end;
    while (text[behind] === "`") behind += 1;
    if (behind - end === marks.length) break;
    end = behind;
  }
  const inner = text.slice(at + marks.length, end).replace(/\n/g, " ");
  return [el("code", {}, inner.replace(/^ (.*[^ ].*) $/, "$1")), end + marks.length];
}

/** @param {string} text @param {number} at @param {number} depth @returns {Found | null} */
function linkAt(text, at, depth) {
  const close = closing(text, at, "[", "]");
  if (close < 0 || text[close + 1] !== "(") return null;
  const end = closing(text, close + 1, "(", ")");
  if (end < 0) return null;
  const target = text.slice(close + 2, end).trim().replace(/\s+(".*"|'.*')$/, "").replace(/^<(.*)>$/, "$1");
  const label = text.slice(at + 1, close);
  // Images are not loaded: they would tell another server who reads this, and when.
  return [link(target, inline(label, depth + 1)) ?? text.slice(at, end + 1), end + 1];
}

/** The bracket that closes the one at a place; -1 without one. @param {string} text @param {number} at @param {string} open @param {string} close */
function closing(text, at, open, close) {
  let depth = 0;
  for (let i = at; i < text.length && i < at + 4000; i += 1) {
    if (text[i] === "\\") i += 1;
    else if (text[i] === open) depth += 1;
    else if (text[i] === close && (depth -= 1) === 0) return i;
  }
  return -1;
}

/** @param {string} text @param {number} at @returns {Found | null} */
function bracketedAt(text, at) {
  const found = /^<([a-z][a-z0-9+.-]{1,31}:[^\s<>]{1,2000})>/i.exec(text.slice(at, at + 2048));
  const node = found && link(found[1], [found[1]]);
  return found && node ? [node, at + found[0].length] : null;
}

/** @param {string} text @param {number} at @returns {Found | null} */
function addressAt(text, at) {
  if (/\w/.test(text[at - 1] ?? "")) return null;
  const found = /^https?:\/\/[^\s<>"'`]+/.exec(text.slice(at, at + 2048));
  if (!found) return null;
  let address = found[0].replace(/[.,;:!?*_~\]]+$/, "");
  if (address.endsWith(")") && !address.includes("(")) address = address.slice(0, -1);
  const node = link(address, [address]);
  return node ? [node, at + address.length] : null;
}

/**
 * A link, if its target is one of those that are harmless.
 * @param {string} target @param {(Node | string)[]} label @returns {HTMLElement | null}
 */
function link(target, label) {
  let url;
  try {
    // The browser's own parser decides what the scheme is, since it is the browser that would follow it.
    url = new URL(target);
  } catch {
    return null;
  }
  if (!SCHEMES.has(url.protocol)) return null;
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, label.length ? label : [target]);
}

/** @param {string} text @param {number} at @param {number} depth @returns {Found | null} */
function emphasisAt(text, at, depth) {
  for (const [mark, tag] of MARKS) {
    if (!text.startsWith(mark, at)) continue;
    const start = at + mark.length;
    if (/\s/.test(text[start] ?? " ")) continue;
    // Within a word an underscore is part of a name.
    if (mark[0] === "_" && /\w/.test(text[at - 1] ?? "")) return null;
    const end = endOf(text, mark, start);
    if (end < 0) continue;
    const inner = inline(text.slice(start, end), depth + 1);
    const node = mark.length === 3 ? el("strong", {}, el("em", {}, inner)) : el(tag, {}, inner);
    return [node, end + mark.length];
  }
  return null;
}

/** @param {string} text @param {string} mark @param {number} from */
function endOf(text, mark, from) {
  for (let end = text.indexOf(mark, from); end >= 0; end = text.indexOf(mark, end + 1)) {
    if (end === from || /\s/.test(text[end - 1]) || text[end - 1] === "\\") continue;
    if (mark.length === 1 && text[end + 1] === mark) {
      // Two marks close something else; both are passed over.
      end += 1;
      continue;
    }
    if (mark[0] === "_" && /\w/.test(text[end + mark.length] ?? "")) continue;
    return end;
  }
  return -1;
}
