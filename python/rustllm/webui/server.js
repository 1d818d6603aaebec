/**
 * What the server serves: one model, or several by name.
 * @module
 */

import { ApiError } from "./api.js";

/** @typedef {{id: string, status: string}} Model */

const POLL_MS = 1000;

export class ServerInfo {
  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
    this.isRouter = false;
    /** @type {Model[]} */
    this.models = [];
    /** What the server says about the model; empty for one that is not loaded. @type {Record<string, any>} */
    this.props = {};
  }

  /** Waits until a server that is loading its model has done so. @param {(text: string) => void} onWait */
  async load(onWait) {
    while (true) {
      try {
        this.props = await this.api.get("props");
        break;
      } catch (error) {
        const { status, message } = /** @type {ApiError} */ (error);
        if (status !== 503 && status !== 0) throw error;
        onWait(message);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
    this.isRouter = this.props.role === "router";
    await this.listModels();
  }

  async listModels() {
    const { data } = await this.api.get("v1/models");
    this.models = data.map((/** @type {any} */ { id, status }) => ({ id, status: status?.value ?? "loaded" }));
  }

  /** Asks for a model's settings without loading it. @param {string} model */
  async describe(model) {
    if (!this.isRouter) return;
    try {
      this.props = await this.api.get(`props?model=${encodeURIComponent(model)}&autoload=false`);
    } catch {
      this.props = {};
    }
  }

  /** @returns {Record<string, any>} */
  get defaults() {
    return this.props.default_generation_settings?.params ?? {};
  }

  /** A line about the model. */
  get summary() {
    const { props } = this;
    const n = props.default_generation_settings?.n_ctx;
    const parts = [props.model_ftype, n ? `${n.toLocaleString()} tokens of context` : "", props.total_slots ? `${props.total_slots} slots` : ""];
    return parts.filter(Boolean).join(" · ");
  }
}
