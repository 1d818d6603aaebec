/**
 * One answer as it comes: the chunks of a stream, gathered into a message.
 * @module
 */

import { ApiError } from "./api.js";

/** @typedef {import("./conversation.js").Message} Message */
/** @typedef {import("./conversation.js").Conversation} Conversation */

export class Generation {
  /**
   * @param {import("./api.js").Api} api
   * @param {Message} message what the answer is added to
   */
  constructor(api, message) {
    this.api = api;
    this.message = message;
    this.abort = new AbortController();
    /** What the server is doing, for the time before the first token. */
    this.progress = "";
    this.started = performance.now();
    this.first = 0;
    this.stopped = false;
  }

  stop() {
    this.stopped = true;
    this.abort.abort();
  }

  /**
   * Runs to the end; errors end up in the message.
   * @param {Record<string, any>} body the request
   * @param {() => void} onChange called after each chunk
   */
  async run(body, onChange) {
    const { message } = this;
    try {
      for await (const chunk of this.api.chat(body, this.abort.signal)) {
        this.take(chunk);
        onChange();
      }
      if (!message.finish) message.error = "The connection ended before the answer did.";
    } catch (error) {
      if (!this.stopped) message.error = wordsOf(/** @type {Error} */ (error));
    }
    if (this.stopped) message.finish = "stopped";
  }

  /** @param {any} chunk */
  take(chunk) {
    const { message } = this;
    if (chunk.model) message.model = chunk.model;
    if (chunk.prompt_progress) {
      const { processed, total } = chunk.prompt_progress;
      this.progress = processed < total ? `Reading ${Math.round((100 * processed) / total)} % of ${total} tokens` : "";
    }
    if (chunk.timings) this.count(chunk.timings);
    const [choice] = chunk.choices ?? [];
    if (!choice) return;
    const { delta = {} } = choice;
    if (delta.reasoning_content) message.reasoning = (message.reasoning ?? "") + delta.reasoning_content;
    if (delta.content) message.content += delta.content;
    for (const call of delta.tool_calls ?? []) this.call(call);
    for (const token of choice.logprobs?.content ?? []) (message.tokens ??= []).push(tokenOf(token));
    if (choice.finish_reason) message.finish = choice.finish_reason;
  }

  /** @param {any} timings */
  count({ predicted_n, predicted_per_second, prompt_n, cache_n }) {
    if (predicted_n > 0 && !this.first) this.first = performance.now() - this.started;
    this.message.stats = {
      tokens: predicted_n,
      // The first token comes with the prompt; a rate takes two.
      perSecond: predicted_n > 1 ? predicted_per_second : 0,
      first: Math.round(this.first),
      prompt: prompt_n + cache_n,
      cached: cache_n,
    };
  }

  /** @param {any} part */
  call({ index, id, function: called = {} }) {
    const calls = (this.message.toolCalls ??= []);
    const call = (calls[index] ??= { id: id ?? "", name: "", arguments: "" });
    call.name += called.name ?? "";
    call.arguments += called.arguments ?? "";
  }
}

/** @param {Error} error */
function wordsOf(error) {
  if (error instanceof ApiError) return error.message;
  // What a browser calls a connection that broke differs from one to the other.
  return error instanceof TypeError ? "The connection to the server broke." : error.message;
}

/** @param {any} token @returns {import("./conversation.js").Token} */
function tokenOf(token) {
  const top = token.top_logprobs ?? token.top_probs ?? [];
  return { text: textOf(token), p: probability(token), top: top.map((/** @type {any} */ one) => ({ text: textOf(one), p: probability(one) })) };
}

/** @param {any} token */
const probability = ({ prob, logprob }) => (prob !== undefined ? prob : Math.exp(logprob));

/** Bytes that are no text alone are shown by their numbers. @param {any} token */
function textOf({ token, bytes }) {
  if (token && !token.includes("\uFFFD")) return token;
  return (bytes ?? []).map((/** @type {number} */ byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

/**
 * The messages of a request: the system prompt and the path to a message.
 * @param {string} system @param {Message[]} messages
 * @returns {Record<string, any>[]}
 */
export function requestMessages(system, messages) {
  const out = messages.map(requestMessage);
  return system.trim() ? [{ role: "system", content: system }, ...out] : out;
}

/** @param {Message} message @returns {Record<string, any>} */
function requestMessage({ role, content, toolCalls, toolCallId, reasoning }) {
  if (role === "tool") return { role, content, tool_call_id: toolCallId };
  if (role === "user") return { role, content };
  const calls = toolCalls?.map(({ id, name, arguments: text }) => ({ id, type: "function", function: { name, arguments: text } }));
  return { role, content, ...(reasoning ? { reasoning_content: reasoning } : {}), ...(calls?.length ? { tool_calls: calls } : {}) };
}
