/**
 * The conversations, in the browser's IndexedDB; other windows hear of changes.
 * @module
 */

import { checked } from "./conversation.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

const DATABASE = "rustllm";
const TABLE = "conversations";
const UNSAVED = "rustllm.unsaved.";
const FORMAT = "rustllm-conversations";

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class ConversationStore {
  /** @param {IDBDatabase | null} database without one conversations live as long as the page */
  constructor(database) {
    this.database = database;
    /** @type {Map<string, Conversation>} */
    this.memory = new Map();
    /** Writes that the database has not confirmed. @type {Set<{ conversation: Conversation }>} */
    this.writes = new Set();
    this.channel = new BroadcastChannel(DATABASE);
  }

  /** @returns {Promise<ConversationStore>} */
  static async open() {
    try {
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "id" });
      const store = new ConversationStore(await result(request));
      await store.recover();
      return store;
    } catch {
      // Some private windows have no database.
      return new ConversationStore(null);
    }
  }

  get lasts() {
    return this.database !== null;
  }

  /** @param {(id: string) => void} listener called with what another window has changed */
  onChange(listener) {
    this.channel.onmessage = ({ data }) => listener(String(data));
  }

  /** All conversations, the latest first. @returns {Promise<Conversation[]>} */
  async all() {
    const found = this.database ? await result(this.table("readonly").getAll()) : [...this.memory.values()];
    return found.sort((a, b) => b.updated - a.updated);
  }

  /** @param {string} id @returns {Promise<Conversation | undefined>} */
  async get(id) {
    return this.database ? result(this.table("readonly").get(id)) : this.memory.get(id);
  }

  /** @param {Conversation} conversation */
  async put(conversation) {
    if (this.database) {
      const write = { conversation };
      this.writes.add(write);
      try {
        await result(this.table("readwrite").put(conversation));
      } finally {
        this.writes.delete(write);
      }
    } else {
      this.memory.set(conversation.id, conversation);
    }
    this.channel.postMessage(conversation.id);
  }

  /**
   * Keeps conversations, and those whose writes are not confirmed, while the page is being left, when there
   * is no time for a database.
   * @param {Conversation[]} conversations
   */
  keep(conversations) {
    const unwritten = [...this.writes].map((write) => write.conversation);
    for (const conversation of new Set([...conversations, ...unwritten])) {
      try {
        localStorage.setItem(UNSAVED + conversation.id, JSON.stringify(conversation));
      } catch {
        // It is too long; the last saving is at most a second old.
      }
    }
  }

  /** Puts what was kept into the database. */
  async recover() {
    for (const name of Object.keys(localStorage).filter((key) => key.startsWith(UNSAVED))) {
      const text = localStorage.getItem(name);
      localStorage.removeItem(name);
      if (text) await this.put(checked(JSON.parse(text)));
    }
  }

  /** @param {string} id */
  async remove(id) {
    if (this.database) await result(this.table("readwrite").delete(id));
    else this.memory.delete(id);
    this.channel.postMessage(id);
  }

  /** @param {IDBTransactionMode} mode */
  table(mode) {
    return /** @type {IDBDatabase} */ (this.database).transaction(TABLE, mode).objectStore(TABLE);
  }
}

/** Conversations as a file's text. @param {Conversation[]} conversations */
export function exported(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/**
 * The conversations of a file's text; throws an Error that says what is wrong with it.
 * @param {string} text
 * @returns {Conversation[]}
 */
export function imported(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("The file is not JSON.");
  }
  if (value?.format !== FORMAT || !Array.isArray(value.conversations)) {
    throw new Error("The file has no conversations of this page.");
  }
  try {
    return value.conversations.map(checked);
  } catch (error) {
    throw new Error(`The file cannot be read: ${/** @type {Error} */ (error).message}.`);
  }
}

/** Lets the browser save a text as a file. @param {string} name @param {string} text */
export function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
