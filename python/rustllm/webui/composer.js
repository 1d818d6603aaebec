/**
 * The field for a message, with its buttons.
 * @module
 */

import { byId } from "./dom.js";

const MAX_HEIGHT = 240;

export class Composer {
  /** @param {(text: string) => void} onSend @param {() => void} onStop */
  constructor(onSend, onStop) {
    this.onSend = onSend;
    this.input = byId("input");
    this.send = byId("send");
    this.stop = byId("stop");
    this.running = false;
    byId("composer").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.submit();
    });
    this.stop.addEventListener("click", onStop);
    this.input.addEventListener("input", () => this.fit());
    this.input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    this.fit();
  }

  submit() {
    const text = this.input.value;
    if (this.running || !text.trim()) return;
    this.input.value = "";
    this.fit();
    this.onSend(text);
  }

  /** As high as its text, up to a point; Send is there once there is something to send. */
  fit() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(MAX_HEIGHT, this.input.scrollHeight)}px`;
    this.send.disabled = !this.input.value.trim();
  }

  /** @param {boolean} running */
  setRunning(running) {
    const focused = document.activeElement === this.stop;
    this.running = running;
    this.stop.hidden = !running;
    this.send.hidden = running;
    if (focused && !running) this.input.focus();
  }

  focus() {
    // A phone's keyboard would cover what there is to read.
    if (matchMedia("(hover: hover)").matches) this.input.focus();
  }
}
