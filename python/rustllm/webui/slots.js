/**
 * The table of slots.
 * @module
 */

import { byId, el } from "./dom.js";

/** @param {any[]} slots as `/slots` has them @param {number | undefined} total */
export function showSlots(slots, total) {
  byId("slots-scroll").hidden = !slots.length;
  byId("slots-note").textContent = slots.length ? "" : total ? `${total} slots, none of them busy` : "None of them is busy";
  byId("slots").replaceChildren(...slots.map(row));
}

/** @param {any} slot */
function row({ id, is_processing, n_ctx, n_prompt_tokens, n_prompt_tokens_cache, next_token }) {
  const label = `${n_prompt_tokens} of ${n_ctx} tokens`;
  const meter = /** @type {HTMLMeterElement} */ (el("meter", { min: "0", max: String(n_ctx), "aria-label": label }));
  meter.value = n_prompt_tokens;
  const state = is_processing ? "busy" : "free";
  return el(
    "tr",
    { class: state },
    el("th", { scope: "row" }, id),
    el("td", {}, state),
    el("td", {}, meter),
    el("td", { class: "right" }, `${n_prompt_tokens} of ${n_ctx}`),
    el("td", { class: "right" }, n_prompt_tokens_cache),
    el("td", { class: "right" }, next_token?.[0]?.n_decoded ?? ""),
  );
}
