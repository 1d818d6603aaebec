/**
 * The sampling fields of a request, as the settings show them.
 * @module
 */

/**
 * @typedef {object} Field
 * @property {string} name the request's field
 * @property {string} label
 * @property {string} hint
 * @property {"number" | "flag" | "words" | "lines" | "json"} kind
 */

/** @param {string} name @param {string} label @param {string} hint @param {Field["kind"]} [kind] @returns {Field} */
const field = (name, label, hint, kind = "number") => ({ name, label, hint, kind });

/** @type {Record<string, Field[]>} */
export const GROUPS = {
  Answer: [
    field("max_tokens", "Most tokens", "−1 has no limit"),
    field("seed", "Seed", "−1 draws one"),
    field("stop", "Stop texts", "one a line", "lines"),
    field("ignore_eos", "Ignore the end", "go on where the model would end", "flag"),
  ],
  Sampling: [
    field("temperature", "Temperature", "0 takes the best token"),
    field("top_k", "Top k", "0 is off"),
    field("top_p", "Top p", "1 is off"),
    field("min_p", "Min p", "0 is off"),
    field("typical_p", "Typical p", "1 is off"),
    field("top_n_sigma", "Top n sigma", "below 0 is off"),
    field("min_keep", "Keep at least", "tokens that samplers leave"),
    field("dynatemp_range", "Dynamic temperature", "how far it moves; 0 is off"),
    field("dynatemp_exponent", "Dynamic exponent", "how entropy becomes temperature"),
    field("xtc_probability", "XTC probability", "0 is off"),
    field("xtc_threshold", "XTC threshold", "least probability it may remove"),
    field("adaptive_target", "Adaptive target", "below 0 is off"),
    field("adaptive_decay", "Adaptive decay", "how slowly it follows"),
    field("mirostat", "Mirostat", "0 off, 1 or 2"),
    field("mirostat_tau", "Mirostat τ", "target entropy"),
    field("mirostat_eta", "Mirostat η", "learning rate"),
    field("samplers", "Sampler order", "names between semicolons", "words"),
  ],
  Repetition: [
    field("repeat_penalty", "Repeat penalty", "1 is off"),
    field("repeat_last_n", "Looks back", "tokens; −1 is the context"),
    field("presence_penalty", "Presence penalty", "0 is off"),
    field("frequency_penalty", "Frequency penalty", "0 is off"),
    field("dry_multiplier", "DRY multiplier", "0 is off"),
    field("dry_base", "DRY base", "how fast it grows"),
    field("dry_allowed_length", "DRY allowed length", "longest repeat left alone"),
    field("dry_penalty_last_n", "DRY looks back", "tokens; −1 is the context"),
    field("dry_sequence_breakers", "DRY breakers", "one a line", "lines"),
  ],
  Context: [
    field("n_keep", "Keep on shift", "first tokens kept"),
    field("n_discard", "Drop on shift", "0 drops half"),
    field("logit_bias", "Token biases", 'such as {"Hello": -5}', "json"),
    field("lora", "Adapters", 'such as [{"id": 0, "scale": 0.5}]', "json"),
  ],
};

/** What the server reports beside settings of a request, and what the page itself decides. */
const NOT_SHOWN = /^(n_predict|stream|timings_per_token|n_probs|post_sampling_probs|grammar.*|chat_format|reasoning_.*|generation_prompt|speculative\..*|backend_sampling|preserved_tokens)$/;

/**
 * The groups, with one more for what this page has never heard of.
 * @param {Record<string, any>} defaults the server's settings
 * @returns {Record<string, Field[]>}
 */
export function groupsFor(defaults) {
  const known = new Set(Object.values(GROUPS).flat().map(({ name }) => name));
  const others = Object.entries(defaults)
    .filter(([name]) => !known.has(name) && !NOT_SHOWN.test(name))
    .map(([name, value]) => field(name, name, "", kindOf(value)));
  return others.length ? { ...GROUPS, Other: others } : GROUPS;
}

/** @param {any} value @returns {Field["kind"]} */
function kindOf(value) {
  if (typeof value === "number") return "number";
  return typeof value === "boolean" ? "flag" : "json";
}

/** A default, short: the server's 32-bit floats have more digits than anyone gave. @param {any} value */
export function shown(value) {
  if (value === undefined || value === null) return "";
  if (value === 0xffffffff) return "−1";
  if (typeof value === "number") return String(Number(value.toPrecision(6))).replace("-", "−");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value.join("; ");
  return JSON.stringify(value);
}

/**
 * The request's value of what was typed. Only its form is judged here; ranges are the server's to judge, in its words.
 * @param {Field} field @param {string} text
 * @returns {any} throws an Error that names the field
 */
export function parsed({ name, label, kind }, text) {
  switch (kind) {
    case "number": {
      const value = Number(text.trim().replace("−", "-").replace(",", "."));
      if (!Number.isFinite(value)) throw new Error(`${label}: “${text}” is not a number`);
      return value;
    }
    case "flag":
      return text === "yes";
    case "words":
      return text.split(/[;,\s]+/).filter(Boolean);
    case "lines":
      return text.split("\n").filter(Boolean).map(unescaped);
    default:
      return parsedJson(label || name, text);
  }
}

/** What one would have typed for a value. @param {Field} field @param {any} value @returns {string} */
export function typed({ kind }, value) {
  if (kind === "flag") return value ? "yes" : "no";
  if (Array.isArray(value) && kind !== "json") return value.join(kind === "words" ? "; " : "\n");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** `\n` in a line stands for a line break, which a line cannot hold. @param {string} line */
function unescaped(line) {
  return line.replace(/\\(n|t|\\)/g, (_, char) => ({ n: "\n", t: "\t" })[/** @type {"n" | "t"} */ (char)] ?? "\\");
}

/** @param {string} label @param {string} text @returns {any} throws an Error that names the field */
export function parsedJson(label, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${label}: ${/** @type {Error} */ (error).message}`);
  }
}
