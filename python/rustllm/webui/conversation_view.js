/**
 * The messages of the path that is shown, and where the view is scrolled to.
 * @module
 */

import { path, siblings } from "./conversation.js";
import { byId } from "./dom.js";
import { MessageView } from "./message_view.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./generation.js").Generation} Generation */

/** Pixels from the end within which the view follows an answer. */
const NEAR = 48;

export class ConversationView {
  /** @param {import("./message_view.js").Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.list = byId("messages");
    this.scroller = byId("scroll");
    /** @type {Map<string, MessageView>} */
    this.views = new Map();
    this.follows = true;
    this.frame = 0;
    this.scroller.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.scroller;
      this.follows = scrollHeight - scrollTop - clientHeight < NEAR;
    });
  }

  /**
   * Shows a conversation; messages that are there already keep their elements.
   * @param {Conversation} conversation @param {Generation | undefined} generation
   */
  show(conversation, generation) {
    // A frame that is still to come would show an answer that has ended as one that goes on.
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const messages = path(conversation);
    const wanted = new Set(messages.map(({ id }) => id));
    for (const [id, view] of this.views) {
      if (wanted.has(id) && view.message === conversation.messages[id]) continue;
      view.element.remove();
      this.views.delete(id);
    }
    messages.forEach((message, index) => {
      let view = this.views.get(message.id);
      if (!view) this.views.set(message.id, (view = new MessageView(message, this.actions)));
      if (this.list.children[index] !== view.element) this.list.insertBefore(view.element, this.list.children[index] ?? null);
      this.update(conversation, message.id, generation);
    });
    byId("empty").hidden = messages.length > 0;
  }

  /** @param {Conversation} conversation @param {string} id @param {Generation | undefined} generation */
  update(conversation, id, generation) {
    const view = this.views.get(id);
    if (!view) return;
    const { message } = view;
    const around = siblings(conversation, message);
    const running = generation?.message === message;
    view.update({ running, progress: running ? generation.progress : "", index: around.indexOf(message), count: around.length });
    if (this.follows) this.scrollToEnd();
  }

  /** Updates a message at the screen's pace, however fast its tokens come. @param {Conversation} conversation @param {Generation} generation */
  updateSoon(conversation, generation) {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.update(conversation, generation.message.id, generation);
    });
  }

  scrollToEnd() {
    this.follows = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** @param {string} id */
  edit(id) {
    this.views.get(id)?.edit();
  }
}
