/**
 * A conversation: a tree of messages, of which one path is shown. Editing or regenerating a message adds a sibling;
 * nothing is overwritten.
 * @module
 */

/**
 * @typedef {object} Message
 * @property {string} id
 * @property {string | null} parent the message before it; null for the first
 * @property {"user" | "assistant" | "tool"} role
 * @property {string} content
 * @property {number} created milliseconds since 1970
 * @property {string} [reasoning] the thought before the answer
 * @property {ToolCall[]} [toolCalls]
 * @property {string} [toolCallId] the call that a tool's message answers
 * @property {Token[]} [tokens]
 * @property {Stats} [stats]
 * @property {string} [model]
 * @property {string} [finish] why it ended: `stop`, `length`, `tool_calls`, `stopped` by the user
 * @property {string} [error] the server's words
 * @property {boolean} [json] whether it was asked for as JSON
 */
/** @typedef {{id: string, name: string, arguments: string}} ToolCall */
/** @typedef {{text: string, p: number | null, top: {text: string, p: number}[]}} Token `p` is from 0 to 1, null for text that was given */
/** @typedef {{tokens: number, perSecond: number, first: number, prompt: number, cached: number}} Stats `first`: milliseconds */

/**
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title
 * @property {boolean} named whether the user gave the title
 * @property {string} system the system prompt
 * @property {number} created
 * @property {number} updated
 * @property {Record<string, Message>} messages
 * @property {string | null} leaf the last message of the path that is shown
 */

const TITLE_LENGTH = 60;

/** @returns {string} */
export function newId() {
  // randomUUID is missing on pages that came over plain HTTP from another machine.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} [system] @returns {Conversation} */
export function newConversation(system = "") {
  const now = Date.now();
  return { id: newId(), title: "New chat", named: false, system, created: now, updated: now, messages: {}, leaf: null };
}

/**
 * Adds a message, which is then the last one shown.
 * @param {Conversation} conversation
 * @param {Partial<Message> & {role: Message["role"]}} fields
 * @param {string | null} [parent] the last one shown unless it says otherwise
 * @returns {Message}
 */
export function addMessage(conversation, fields, parent = conversation.leaf) {
  /** @type {Message} */
  const message = { content: "", ...fields, id: newId(), parent, created: Date.now() };
  conversation.messages[message.id] = message;
  conversation.leaf = message.id;
  conversation.updated = message.created;
  if (!conversation.named) conversation.title = titleOf(conversation);
  return message;
}

/** @param {Conversation} conversation @returns {string} */
function titleOf(conversation) {
  const first = path(conversation).find((message) => message.role === "user");
  const line = (first?.content ?? "").trim().replace(/\s+/g, " ");
  if (!line) return "New chat";
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH).trimEnd()}…` : line;
}

/**
 * The messages from the first to a given one; to the last one shown without it.
 * @param {Conversation} conversation
 * @param {string | null} [last]
 * @returns {Message[]}
 */
export function path(conversation, last = conversation.leaf) {
  const found = [];
  for (let id = last; id !== null; ) {
    const message = conversation.messages[id];
    if (!message) break;
    found.push(message);
    id = message.parent;
  }
  return found.reverse();
}

/** The messages behind the same one, in the order in which they came. @param {Conversation} conversation @param {Message} message */
export function siblings(conversation, message) {
  return childrenOf(conversation, message.parent);
}

/** @param {Conversation} conversation @param {string | null} parent */
function childrenOf(conversation, parent) {
  return Object.values(conversation.messages)
    .filter((message) => message.parent === parent)
    .sort((a, b) => a.created - b.created);
}

/** Shows a message and the latest path behind it. @param {Conversation} conversation @param {string} id */
export function select(conversation, id) {
  let leaf = id;
  for (let children = childrenOf(conversation, leaf); children.length; children = childrenOf(conversation, leaf)) {
    leaf = children[children.length - 1].id;
  }
  conversation.leaf = leaf;
}

/**
 * A conversation out of a file, if it is one: only known fields of the right type are kept.
 * @param {any} value
 * @returns {Conversation} throws an Error that says what is wrong
 */
export function checked(value) {
  if (typeof value !== "object" || value === null) throw new Error("a conversation is not an object");
  if (typeof value.messages !== "object" || value.messages === null) throw new Error("a conversation has no messages");
  const messages = Object.fromEntries(Object.entries(value.messages).map(([id, message]) => [id, checkedMessage(id, message)]));
  for (const { id, parent } of Object.values(messages)) {
    if (parent !== null && !Object.hasOwn(messages, parent)) throw new Error(`message ${id} is behind one that is not there`);
  }
  refuseCircles(messages);
  const conversation = newConversation(string(value.system));
  const leaf = typeof value.leaf === "string" && Object.hasOwn(messages, value.leaf) ? value.leaf : (Object.keys(messages).at(-1) ?? null);
  return {
    ...conversation,
    id: /^[0-9a-f]{24}$/.test(value.id) ? value.id : conversation.id,
    title: string(value.title).slice(0, 200) || "Imported chat",
    named: value.named === true,
    created: number(value.created) || conversation.created,
    updated: number(value.updated) || conversation.updated,
    messages,
    leaf,
  };
}

/** @param {string} id @param {any} value @returns {Message} */
function checkedMessage(id, value) {
  if (!["user", "assistant", "tool"].includes(value?.role)) throw new Error(`message ${id} has the role ${JSON.stringify(value?.role)}`);
  if (typeof value.content !== "string") throw new Error(`message ${id} has no text`);
  /** @type {Message} */
  const message = { id, parent: typeof value.parent === "string" ? value.parent : null, role: value.role, content: value.content, created: number(value.created) };
  for (const name of /** @type {const} */ (["reasoning", "toolCallId", "model", "finish", "error"])) {
    if (typeof value[name] === "string") message[name] = value[name];
  }
  if (value.json === true) message.json = true;
  if (Array.isArray(value.toolCalls)) {
    message.toolCalls = value.toolCalls.map((/** @type {any} */ call) => ({ id: string(call?.id), name: string(call?.name), arguments: string(call?.arguments) }));
  }
  if (Array.isArray(value.tokens)) {
    message.tokens = value.tokens.map((/** @type {any} */ token) => ({ text: string(token?.text), p: token?.p === null ? null : number(token?.p), top: Array.isArray(token?.top) ? token.top.map(choice) : [] }));
  }
  if (typeof value.stats === "object" && value.stats !== null) {
    const { tokens, perSecond, first, prompt, cached } = value.stats;
    message.stats = { tokens: number(tokens), perSecond: number(perSecond), first: number(first), prompt: number(prompt), cached: number(cached) };
  }
  return message;
}

/** @param {Record<string, Message>} messages */
function refuseCircles(messages) {
  const good = new Set();
  for (const id of Object.keys(messages)) {
    const seen = new Set();
    for (let at = /** @type {string | null} */ (id); at !== null && !good.has(at); at = messages[at].parent) {
      if (seen.has(at)) throw new Error(`message ${at} is behind itself`);
      seen.add(at);
    }
    for (const other of seen) good.add(other);
  }
}

/** @param {any} value */
const string = (value) => (typeof value === "string" ? value : "");

/** @param {any} value */
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : 0);

/** @param {any} value */
const choice = (value) => ({ text: string(value?.text), p: number(value?.p) });
