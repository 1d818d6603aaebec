/**
 * The server, as its pages talk to it: addresses relative to the page, the key, errors in the server's words.
 * @module
 */

import { events } from "./sse.js";

const KEY = "rustllm.key";

/** What the server answered instead of a result. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  /** @param {() => Promise<string | null>} askForKey asks the user for a key; null where none is given */
  constructor(askForKey) {
    this.askForKey = askForKey;
    // The page lies at the root of the API, whatever prefix or proxy is before it.
    this.base = new URL(".", location.href);
    /** @type {Promise<string | null> | null} */
    this.asking = null;
  }

  get key() {
    return localStorage.getItem(KEY) ?? "";
  }

  set key(value) {
    if (value) localStorage.setItem(KEY, value);
    else localStorage.removeItem(KEY);
  }

  /**
   * The response to a request; throws an ApiError for any other than 2xx.
   * @param {string} path relative to the API's root, without a slash before it
   * @param {RequestInit} [options]
   * @returns {Promise<Response>}
   */
  async request(path, options = {}) {
    while (true) {
      const key = this.key;
      const headers = { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...options.headers };
      const response = await this.fetch(path, { ...options, headers });
      if (response.ok) return response;
      const error = await errorOf(response);
      if (response.status !== 401) throw error;
      // Another request may have asked meanwhile; its key is tried before the user is asked again.
      if (this.key === key && !(await this.newKey())) throw error;
    }
  }

  /** @param {string} path @param {RequestInit} options */
  async fetch(path, options) {
    try {
      return await fetch(new URL(path, this.base), { cache: "no-store", ...options });
    } catch (error) {
      if (/** @type {Error} */ (error).name === "AbortError") throw error;
      throw new ApiError(0, "The server cannot be reached.");
    }
  }

  /** Asks for a key once, however many requests wait for it. */
  newKey() {
    this.asking ??= this.askForKey().then((key) => {
      this.asking = null;
      if (key !== null) this.key = key;
      return key;
    });
    return this.asking;
  }

  /** @param {string} path @returns {Promise<any>} */
  async get(path) {
    return (await this.request(path)).json();
  }

  /** @param {string} path @returns {Promise<string>} */
  async text(path) {
    return (await this.request(path)).text();
  }

  /**
   * The chunks of a streamed chat completion.
   * @param {Record<string, any>} body
   * @param {AbortSignal} signal closes the connection, which ends the work on the server
   * @returns {AsyncGenerator<any, void, void>}
   */
  async *chat(body, signal) {
    const response = await this.request("v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...body, stream: true }),
      signal,
    });
    if (!response.body) return;
    for await (const data of events(response.body)) {
      // Read to the end, the connection is left open for the next request.
      if (data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(chunk.error.code ?? 500, chunk.error.message ?? data);
      yield chunk;
    }
  }
}

/** @param {Response} response @returns {Promise<ApiError>} */
async function errorOf(response) {
  const text = await response.text().catch(() => "");
  try {
    const { error } = JSON.parse(text);
    const message = typeof error === "string" ? error : error.message;
    if (typeof message === "string") return new ApiError(response.status, message);
  } catch {
    // A proxy's own page: its status says more than its HTML.
  }
  return new ApiError(response.status, `status ${response.status} ${response.statusText}`.trim());
}
