/**
 * Markdown as models write it, to elements. Nothing in it is ever read as HTML: each piece of the source becomes a
 * text node, or an element of the few kinds below. Blocks that have not changed keep their elements, so that a
 * streamed answer costs the rendering of its last block only.
 * @module
 */

import { button, copyFrom, el } from "./dom.js";
import { inline } from "./inline.js";

/**
 * @typedef {object} Block
 * @property {"code" | "heading" | "rule" | "quote" | "list" | "table" | "text"} kind
 * @property {string} source the lines that it was read from
 * @property {string} [text]
 * @property {string} [language]
 * @property {number} [level]
 * @property {string[]} [rows]
 * @property {Item[]} [items]
 * @property {number | null} [start] an ordered list's first number
 */
/** @typedef {{text: string, checked: boolean | null}} Item */

/** Quotes and lists deeper than this are shown as plain text. */
const MAX_DEPTH = 8;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(\s+|$)/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/** @type {WeakMap<Node, string>} */
const sources = new WeakMap();

/**
 * Makes an element show a text.
 * @param {HTMLElement} container
 * @param {string} text
 */
export function show(container, text) {
  const found = blocks(text);
  found.forEach((block, index) => {
    const there = container.childNodes[index];
    if (there && sources.get(there) === block.kind + block.source) return;
    const node = element(block, 0);
    sources.set(node, block.kind + block.source);
    if (there) there.replaceWith(node);
    else container.append(node);
  });
  while (container.childNodes.length > found.length) container.lastChild?.remove();
}

/**
 * The blocks of a text.
 * @param {string} text
 * @returns {Block[]}
 */
export function blocks(text) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  /** @type {Block[]} */
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, next] = blockAt(lines, at);
    block.source = lines.slice(at, next).join("\n");
    found.push(block);
    at = next;
  }
  return found;
}

/**
 * The block that begins at a line, and the line behind it.
 * @param {string[]} lines @param {number} at @returns {[Block, number]}
 */
function blockAt(lines, at) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", source: "", level: heading[1].length, text: heading[2] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule", source: "" }, at + 1];
  if (QUOTE.test(line)) return quote(lines, at);
  if (ITEM.test(line)) return list(lines, at);
  if (line.includes("|") && DIVIDER.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) return table(lines, at);
  return paragraph(lines, at);
}

/** @param {string[]} lines @param {number} at @param {RegExpExecArray} fence @returns {[Block, number]} */
function code(lines, at, [, marks, info]) {
  const indent = /^ */.exec(lines[at])?.[0].length ?? 0;
  let end = at + 1;
  while (end < lines.length) {
    const mark = lines[end].trim();
    if (mark.startsWith(marks) && mark === mark[0].repeat(mark.length)) break;
    end += 1;
  }
  // A fence that has not been closed yet reaches to the end: the answer may still be coming.
  const body = lines.slice(at + 1, end).map((line) => line.replace(new RegExp(`^ {0,${indent}}`), ""));
  const language = info.trim().split(/\s/)[0] ?? "";
  return [{ kind: "code", source: "", text: body.join("\n"), language }, Math.min(end + 1, lines.length)];
}

/** @param {string[]} lines @param {number} at @returns {[Block, number]} */
function quote(lines, at) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const text = lines.slice(at, end).map((line) => line.replace(QUOTE, "")).join("\n");
  return [{ kind: "quote", source: "", text }, end];
}

/** @param {string[]} lines @param {number} at @returns {[Block, number]} */
function list(lines, at) {
  const first = /** @type {RegExpExecArray} */ (ITEM.exec(lines[at]));
  const indent = first[1].length;
  const ordered = /\d/.test(first[2]);
  /** @type {string[][]} */
  const items = [];
  let [end, inner] = [at, 0];
  while (end < lines.length) {
    const line = lines[end];
    const item = ITEM.exec(line);
    const spaces = /^ */.exec(line)?.[0].length ?? 0;
    if (item && item[1].length <= indent + 1 && /\d/.test(item[2]) === ordered && !RULE.test(line)) {
      if (item[1].length < indent) break;
      inner = Math.min(item[0].length, item[1].length + item[2].length + 4);
      items.push([line.slice(inner)]);
    } else if (!line.trim()) {
      // A blank line belongs to the list only if the list goes on behind it.
      const next = lines.slice(end + 1).find((other) => other.trim());
      if (next === undefined || (!ITEM.test(next) && /^ */.exec(next)?.[0].length === 0)) break;
      items[items.length - 1].push("");
    } else if (spaces > indent) {
      items[items.length - 1].push(line.slice(Math.min(spaces, inner)));
    } else if (item || HEADING.test(line) || FENCE.test(line) || QUOTE.test(line) || RULE.test(line) || !lines[end - 1].trim()) {
      break;
    } else {
      items[items.length - 1].push(line);
    }
    end += 1;
  }
  const start = ordered ? Number.parseInt(first[2], 10) : null;
  return [{ kind: "list", source: "", start, items: items.map(task) }, end];
}

/** @param {string[]} lines @returns {Item} */
function task(lines) {
  const text = lines.join("\n").trimEnd();
  const box = /^\[([ xX])\]\s+/.exec(text);
  return box ? { text: text.slice(box[0].length), checked: box[1] !== " " } : { text, checked: null };
}

/** @param {string[]} lines @param {number} at @returns {[Block, number]} */
function table(lines, at) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end += 1;
  return [{ kind: "table", source: "", rows: lines.slice(at, end) }, end];
}

/** @param {string[]} lines @param {number} at @returns {[Block, number]} */
function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length) {
    const line = lines[end];
    const item = ITEM.exec(line);
    // Only a list that starts at one interrupts a text, which may well have a line that begins with a year.
    const begins = item && item[3] && (!/\d/.test(item[2]) || Number.parseInt(item[2], 10) === 1);
    if (!line.trim() || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || begins) break;
    end += 1;
  }
  return [{ kind: "text", source: "", text: lines.slice(at, end).join("\n") }, end];
}

/** @param {Block} block @param {number} depth @returns {HTMLElement} */
function element(block, depth) {
  const { text = "" } = block;
  switch (block.kind) {
    case "code":
      return codeBlock(text, block.language ?? "");
    case "heading":
      // The page itself has the first two levels.
      return el(`h${Math.min(6, (block.level ?? 1) + 2)}`, {}, inline(text));
    case "rule":
      return el("hr");
    case "quote":
      return el("blockquote", {}, nested(text, depth));
    case "list":
      return listElement(block, depth);
    case "table":
      return tableElement(block.rows ?? []);
    default:
      return el("p", {}, inline(text));
  }
}

/** @param {string} text @param {number} depth @returns {(Node | string)[]} */
function nested(text, depth) {
  return depth < MAX_DEPTH ? blocks(text).map((block) => element(block, depth + 1)) : [text];
}

/** @param {Block} block @param {number} depth */
function listElement({ items = [], start = null }, depth) {
  const children = items.map(({ text, checked }) => {
    const parts = nested(text, depth);
    // A text alone needs no paragraph around it.
    const [first] = parts;
    if (first instanceof HTMLElement && first.tagName === "P") parts.splice(0, 1, ...first.childNodes);
    const box = checked === null ? null : el("input", { type: "checkbox", disabled: true, checked, "aria-label": checked ? "done" : "to do" });
    return el("li", { class: checked === null ? null : "task" }, box, parts);
  });
  return el(start === null ? "ul" : "ol", { start: start === null || start === 1 ? null : start }, children);
}

/** @param {string[]} rows */
function tableElement([head, divider, ...body]) {
  const alignments = cells(divider).map((cell) => `${cell.startsWith(":") ? "l" : ""}${cell.endsWith(":") ? "r" : ""}`);
  /** @type {Record<string, string>} */
  const classes = { lr: "center", r: "right" };
  /** @param {string} tag @param {string} line */
  const row = (tag, line) =>
    el("tr", {}, cells(line).map((cell, index) => el(tag, { class: classes[alignments[index]] ?? null }, inline(cell))));
  const table = el("table", {}, el("thead", {}, row("th", head)), el("tbody", {}, body.map((line) => row("td", line))));
  return el("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, table);
}

/** @param {string} line @returns {string[]} */
function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

/**
 * A block of code with its language and a button that copies it.
 * @param {string} text @param {string} language
 */
export function codeBlock(text, language) {
  const copy = button("Copy", () => copyFrom(copy, text), { class: "quiet", "aria-label": "Copy the code" });
  const label = language || "text";
  return el(
    "div",
    { class: "code" },
    el("div", { class: "code-head" }, el("span", {}, label), copy),
    el("pre", { tabindex: "0", role: "group", "aria-label": `Code: ${label}` }, el("code", {}, text)),
  );
}
