/**
 * Which model answers: its name, or a choice of several.
 * @module
 */

import { byId, el } from "./dom.js";

export class ModelPicker {
  /**
   * @param {import("./server.js").ServerInfo} server
   * @param {import("./settings.js").Settings} settings
   * @param {() => void} onChange called when another model is described
   */
  constructor(server, settings, onChange) {
    this.server = server;
    this.settings = settings;
    this.onChange = onChange;
    this.place = byId("model-place");
  }

  async show() {
    const { models, isRouter } = this.server;
    if (!isRouter) {
      const name = models[0]?.id ?? "";
      this.place.replaceChildren(el("span", { class: "model", title: name }, name));
      return this.onChange();
    }
    const { model } = this.settings.values;
    const chosen = models.find(({ id }) => id === model) ?? models.find(({ status }) => status === "loaded") ?? models[0];
    const select = /** @type {HTMLSelectElement} */ (el("select", { class: "model", "aria-label": "Model" }, options(models)));
    select.value = chosen?.id ?? "";
    select.addEventListener("change", () => this.choose(select.value));
    // Models are loaded and unloaded by others as well.
    select.addEventListener("focus", () => this.refresh());
    this.place.replaceChildren(select);
    if (chosen) await this.choose(chosen.id);
  }

  /** The model that answers. */
  get name() {
    return this.server.isRouter ? this.settings.values.model : (this.server.models[0]?.id ?? "");
  }

  /** @param {string} id */
  async choose(id) {
    this.settings.set({ model: id });
    await this.server.describe(id);
    this.onChange();
  }

  async refresh() {
    const select = this.place.querySelector("select");
    if (!select) return;
    await this.server.listModels().catch(() => {});
    const { value } = select;
    select.replaceChildren(...options(this.server.models));
    select.value = value;
    await this.server.describe(value);
    this.onChange();
  }
}

/** @param {import("./server.js").Model[]} models */
function options(models) {
  return models.map(({ id, status }) => el("option", { value: id }, status === "loaded" ? id : `${id} (${status})`));
}
