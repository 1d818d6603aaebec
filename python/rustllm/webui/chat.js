/**
 * The chat page: what the user does, to the conversation, the server and the view.
 * @module
 */

import { Api, ApiError } from "./api.js";
import { Composer } from "./composer.js";
import { addMessage, newConversation, path, select, siblings } from "./conversation.js";
import { ConversationView } from "./conversation_view.js";
import { byId } from "./dom.js";
import { Generation, requestMessages } from "./generation.js";
import { listen } from "./keyboard.js";
import { ModelPicker } from "./model_picker.js";
import { askForKey, toast } from "./prompts.js";
import { ServerInfo } from "./server.js";
import { Settings } from "./settings.js";
import { SettingsPanel } from "./settings_panel.js";
import { Sidebar } from "./sidebar.js";
import { ConversationStore, download, exported, imported } from "./store.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./conversation.js").Message} Message */

/** Milliseconds between two savings of an answer that is coming. */
const SAVE_MS = 1000;

class Chat {
  /** @param {ConversationStore} store */
  constructor(store) {
    this.store = store;
    this.api = new Api(askForKey);
    this.settings = new Settings();
    this.server = new ServerInfo(this.api);
    this.conversation = newConversation(this.settings.values.system);
    /** Answers that are coming, by conversation. @type {Map<string, Generation>} */
    this.running = new Map();
    /** @type {Map<string, Conversation>} */
    this.open = new Map();
    this.composer = new Composer((text) => this.say(text), () => this.stop());
    this.sidebar = new Sidebar((id) => this.goTo(id));
    this.panel = new SettingsPanel(this.settings, () => this.showChips(), this.api);
    this.picker = new ModelPicker(this.server, this.settings, () => this.showServer());
    this.view = new ConversationView({
      regenerate: (message) => this.answer(message.parent),
      goOn: (message) => this.goOn(message),
      edit: (message, text) => this.edit(message, text),
      branch: (message, step) => this.branch(message, step),
      choose: (message, index, text) => this.choose(message, index, text),
      answerCalls: (message, results) => this.answerCalls(message, results),
    });
    this.listen();
  }

  listen() {
    byId("new").addEventListener("click", () => this.start());
    byId("delete").addEventListener("click", () => this.remove());
    byId("export").addEventListener("click", async () => download("rustllm-conversations.json", exported(await this.store.all())));
    byId("export-one").addEventListener("click", () => download("rustllm-conversation.json", exported([this.conversation])));
    byId("import").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", () => this.importFile());
    byId("title").addEventListener("change", () => this.rename(byId("title").value));
    byId("system").addEventListener("input", () => {
      this.conversation.system = byId("system").value;
      if (this.conversation.leaf !== null) this.save();
    });
    byId("schema-chip").addEventListener("click", () => this.toggleSchema());
    byId("tokens-chip").addEventListener("click", () => this.panel.set({ tokensOn: !this.settings.values.tokensOn }));
    addEventListener("hashchange", () => this.openFromAddress());
    addEventListener("pagehide", () => this.store.keep([...this.open.values()]));
    this.store.onChange((id) => this.onOtherWindow(id));
    listen({
      stop: () => this.escape(),
      start: () => this.start(),
      move: (step) => this.goTo(this.sidebar.neighbour(step)),
      version: (step) => {
        const last = path(this.conversation).at(-1);
        if (last) this.branch(last, step);
      },
      editLast: () => {
        const last = path(this.conversation).findLast(({ role }) => role === "user");
        if (last) this.view.edit(last.id);
      },
      settings: () => this.panel.toggle(byId("settings").hidden),
      focus: () => byId("input").focus(),
    });
  }

  /** Fills the page; the conversations are there before the server has answered. */
  async begin() {
    this.showChips();
    await this.openFromAddress();
    this.composer.focus();
    if (!this.store.lasts) toast("This browser keeps no data for this page; conversations end with it.");
    try {
      await this.server.load((text) => this.notice(text));
      this.settings.adopt(this.server.props.ui_settings);
      if (this.conversation.leaf === null && !this.conversation.system) this.conversation.system = this.settings.values.system;
      this.notice("");
      await this.picker.show();
      this.showAll();
    } catch (error) {
      this.notice(/** @type {Error} */ (error).message);
    }
  }

  // Conversations

  async openFromAddress() {
    const id = location.hash.replace(/^#/, "");
    const found = id ? (this.open.get(id) ?? (await this.store.get(id))) : undefined;
    if (found) this.conversation = found;
    else if (this.conversation.leaf !== null) this.conversation = newConversation(this.settings.values.system);
    this.view.follows = true;
    await this.list();
    this.showAll();
  }

  /** @param {string | undefined} id */
  goTo(id) {
    if (id === undefined) return;
    this.sidebar.toggle(false);
    location.hash = id;
  }

  start() {
    this.sidebar.toggle(false);
    this.conversation = newConversation(this.settings.values.system);
    history.pushState(null, "", location.pathname + location.search);
    this.list();
    this.showAll();
    byId("input").focus();
  }

  async list() {
    this.sidebar.show(await this.store.all(), this.conversation.id);
  }

  /** @param {Conversation} [conversation] */
  async save(conversation = this.conversation) {
    try {
      await this.store.put(conversation);
    } catch (error) {
      toast(`The conversation could not be saved: ${/** @type {Error} */ (error).message}`);
    }
    await this.list();
  }

  /** @param {string} title */
  async rename(title) {
    this.conversation.title = title.trim() || "New chat";
    this.conversation.named = Boolean(title.trim());
    if (this.conversation.leaf !== null) await this.save();
    this.showAll();
  }

  async remove() {
    const gone = this.conversation;
    this.running.get(gone.id)?.stop();
    if (gone.leaf === null) return;
    await this.store.remove(gone.id);
    this.open.delete(gone.id);
    this.start();
    toast(`“${gone.title}” is deleted.`, "Undo", async () => {
      await this.store.put(gone);
      this.goTo(gone.id);
    });
  }

  async importFile() {
    const input = byId("file");
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      const conversations = imported(await file.text());
      for (const conversation of conversations) await this.store.put(conversation);
      toast(conversations.length === 1 ? "One conversation is imported." : `${conversations.length} conversations are imported.`);
      const first = conversations[0]?.id;
      this.open.delete(first);
      if (location.hash === `#${first}`) await this.openFromAddress();
      else this.goTo(first);
      await this.list();
    } catch (error) {
      toast(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} id */
  async onOtherWindow(id) {
    if (id === this.conversation.id && !this.running.has(id)) {
      const found = await this.store.get(id);
      if (found) this.conversation = found;
      this.showAll();
    }
    await this.list();
  }

  // Messages

  /** @param {string} text */
  say(text) {
    const message = addMessage(this.conversation, { role: "user", content: text });
    return this.answer(message.id);
  }

  /** @param {Message} message @param {string} text */
  async edit(message, text) {
    if (this.running.has(this.conversation.id) || text === message.content) return;
    const { role, toolCallId, model } = message;
    const edited = addMessage(this.conversation, { role, toolCallId, model, content: text, ...(role === "assistant" ? { finish: "edited" } : {}) }, message.parent);
    if (role === "user") return this.answer(edited.id);
    await this.save();
    this.showAll();
  }

  /** @param {Message} message @param {number} step */
  async branch(message, step) {
    const around = siblings(this.conversation, message);
    const next = around[around.indexOf(message) + step];
    if (!next || this.running.has(this.conversation.id)) return;
    select(this.conversation, next.id);
    this.showAll();
    const shown = this.view.views.get(next.id)?.element;
    /** @type {HTMLElement | null | undefined} */ (shown?.querySelector(`[data-step="${step}"]:not(:disabled)`) ?? shown?.querySelector("[data-step]:not(:disabled)"))?.focus();
    await this.save();
  }

  /** Goes on with an answer that was cut. @param {Message} message */
  goOn(message) {
    return this.answer(message.parent, message);
  }

  /** Another version of an answer: as it was up to a token, then another token. @param {Message} message @param {number} index @param {string} text */
  choose(message, index, text) {
    const kept = (message.tokens ?? []).slice(0, index);
    const taken = message.tokens?.[index].top.find((token) => token.text === text) ?? { text, p: 0 };
    const tokens = [...kept, { ...taken, top: message.tokens?.[index].top ?? [] }];
    return this.answer(message.parent, { ...message, content: tokens.map((token) => token.text).join(""), tokens });
  }

  /** @param {Message} message @param {string[]} results */
  answerCalls(message, results) {
    let parent = message.id;
    (message.toolCalls ?? []).forEach(({ id }, index) => {
      parent = addMessage(this.conversation, { role: "tool", content: results[index], toolCallId: id }, parent).id;
    });
    return this.answer(parent);
  }

  /**
   * Asks for an answer to a message.
   * @param {string | null} parent
   * @param {Message} [start] what the answer begins with
   */
  async answer(parent, start) {
    const { conversation } = this;
    if (this.running.has(conversation.id)) return;
    const { model } = this.settings.values;
    const json = this.settings.values.schemaOn;
    const begun = start ? { content: start.content, reasoning: start.reasoning, tokens: this.begunTokens(start) } : {};
    const message = addMessage(conversation, { role: "assistant", ...begun, ...(json ? { json } : {}) }, parent);
    const generation = new Generation(this.api, message);
    this.running.set(conversation.id, generation);
    this.open.set(conversation.id, conversation);
    if (location.hash !== `#${conversation.id}`) history.pushState(null, "", `#${conversation.id}`);
    this.view.follows = true;
    this.showAll();
    await this.save(conversation);
    let saved = performance.now();
    try {
      const body = {
        ...(this.server.isRouter && model ? { model } : {}),
        ...this.settings.request(),
        messages: requestMessages(conversation.system, path(conversation, start?.content ? message.id : parent)),
        timings_per_token: true,
        return_progress: true,
      };
      await generation.run(body, () => {
        if (this.conversation === conversation) this.view.updateSoon(conversation, generation);
        if (performance.now() - saved < SAVE_MS) return;
        saved = performance.now();
        this.store.put(conversation).catch(() => {});
      });
    } catch (error) {
      // A setting that is not even of the right form never gets to the server.
      message.error = /** @type {Error} */ (error).message;
    }
    await this.ended(conversation, message);
  }

  /** The tokens of an answer's begin, if those of its rest are to follow. @param {Message} start */
  begunTokens({ tokens, content }) {
    if (!this.settings.values.tokensOn) return undefined;
    return tokens?.slice() ?? [{ text: content, p: null, top: [] }];
  }

  /** @param {Conversation} conversation @param {Message} message */
  async ended(conversation, message) {
    this.running.delete(conversation.id);
    this.open.delete(conversation.id);
    conversation.updated = Date.now();
    if (this.conversation === conversation) {
      this.showAll();
      byId("status").textContent = message.error ? `Error: ${message.error}` : "The answer is complete.";
    }
    if (await this.wanted(conversation.id)) await this.save(conversation);
    if (this.server.isRouter) await this.picker.refresh();
  }

  /** Whether a conversation was not deleted while its answer came. @param {string} id */
  async wanted(id) {
    return (await this.store.get(id)) !== undefined;
  }

  stop() {
    this.running.get(this.conversation.id)?.stop();
  }

  escape() {
    if (this.running.has(this.conversation.id)) this.stop();
    else if (this.sidebar.isOpen) this.sidebar.toggle(false);
    else if (!byId("settings").hidden) this.panel.toggle(false);
  }

  // What is shown

  showAll() {
    const { conversation } = this;
    const generation = this.running.get(conversation.id);
    byId("title").value = conversation.title;
    document.title = conversation.leaf === null ? "rustllm" : `${conversation.title} – rustllm`;
    for (const id of ["delete", "export-one"]) byId(id).hidden = conversation.leaf === null;
    if (document.activeElement !== byId("system")) byId("system").value = conversation.system;
    byId("system-box").classList.toggle("given", Boolean(conversation.system.trim()));
    this.view.show(conversation, generation);
    this.composer.setRunning(Boolean(generation));
    this.sidebar.show(this.sidebar.conversations, conversation.id);
  }

  showServer() {
    byId("about").textContent = this.server.summary;
    byId("greeting").textContent = this.picker.name || "rustllm";
    this.panel.setDefaults(this.server.defaults);
  }

  showChips() {
    const { schemaOn, tokensOn } = this.settings.values;
    byId("schema-chip").setAttribute("aria-pressed", String(schemaOn));
    byId("tokens-chip").setAttribute("aria-pressed", String(tokensOn));
  }

  /** On, where there is a schema; otherwise to where one can be written. */
  toggleSchema() {
    const { schemaOn, schema } = this.settings.values;
    this.panel.set({ schemaOn: !schemaOn });
    if (!schemaOn && !schema.trim()) this.panel.toggle(true, "set-schema");
  }

  /** @param {string} text */
  notice(text) {
    byId("notice").textContent = text;
    byId("notice").hidden = !text;
  }
}

const chat = new Chat(await ConversationStore.open());
await chat.begin().catch((error) => chat.notice(error instanceof ApiError ? error.message : String(error)));
