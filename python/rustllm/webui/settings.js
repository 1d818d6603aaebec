/**
 * What the user has set, kept in the browser, and what it adds to a request.
 * @module
 */

import { GROUPS, parsed, parsedJson, typed } from "./fields.js";

const KEY = "rustllm.settings";

/** @typedef {import("./fields.js").Field} Field */

/**
 * @typedef {object} Values
 * @property {Record<string, string>} fields sampling fields as they were typed; an empty one is the server's default
 * @property {string} system the system prompt of new chats
 * @property {boolean} schemaOn
 * @property {string} schema a JSON schema
 * @property {boolean} tokensOn
 * @property {number} alternatives tokens reported beside each token
 * @property {boolean} afterSampling whether probabilities are those after the samplers
 * @property {string} grammar GBNF
 * @property {string} tools a JSON array
 * @property {string} thinking `default`, `on` or `off`
 * @property {string} effort
 * @property {string} reasoning what becomes of thoughts: the server's `reasoning_format`
 * @property {string} extra further fields, a JSON object
 * @property {string} model the model chosen of several
 */

/** @type {Values} */
const DEFAULTS = {
  fields: {},
  system: "",
  schemaOn: false,
  schema: "",
  tokensOn: false,
  alternatives: 5,
  afterSampling: false,
  grammar: "",
  tools: "",
  thinking: "default",
  effort: "",
  reasoning: "",
  extra: "",
  model: "",
};

export class Settings {
  constructor() {
    /** @type {Values} */
    this.values = { ...structuredClone(DEFAULTS), ...stored() };
    /** Fields that this page has never heard of but the server has. @type {Field[]} */
    this.others = [];
  }

  /** @param {Partial<Values>} values */
  set(values) {
    Object.assign(this.values, values);
    localStorage.setItem(KEY, JSON.stringify(this.values));
  }

  /** @param {string} name @param {string} text */
  setField(name, text) {
    const fields = { ...this.values.fields };
    if (text.trim()) fields[name] = text;
    else delete fields[name];
    this.set({ fields });
  }

  reset() {
    const { model } = this.values;
    this.set({ ...structuredClone(DEFAULTS), model });
  }

  /** How much differs from the server's defaults, for the button that opens the settings. */
  get changed() {
    const { fields, grammar, tools, extra, thinking, effort, reasoning } = this.values;
    return Object.keys(fields).length + [grammar, tools, extra, effort, reasoning, thinking !== "default"].filter(Boolean).length;
  }

  /**
   * Takes over what the operator has set (`--ui-config`), where the user has set nothing.
   * @param {Record<string, any>} config
   */
  adopt(config) {
    if (localStorage.getItem(KEY) !== null || !config) return;
    for (const field of Object.values(GROUPS).flat()) {
      if (field.name in config) this.values.fields[field.name] = typed(field, config[field.name]);
    }
    if (typeof config.systemMessage === "string") this.values.system = config.systemMessage;
  }

  /**
   * The fields of a request.
   * @returns {Record<string, any>} throws an Error that names the setting
   */
  request() {
    const { values } = this;
    /** @type {Record<string, any>} */
    const body = {};
    for (const field of [...Object.values(GROUPS).flat(), ...this.others]) {
      const text = values.fields[field.name];
      if (text !== undefined) body[field.name] = parsed(field, text);
    }
    if (values.tokensOn) {
      Object.assign(body, { logprobs: true, top_logprobs: values.alternatives, post_sampling_probs: values.afterSampling });
    }
    if (values.schemaOn) {
      const schema = parsedJson("JSON schema", values.schema || "{}");
      body.response_format = { type: "json_schema", json_schema: { name: "answer", schema } };
    } else if (values.grammar.trim()) {
      body.grammar = values.grammar;
    }
    if (values.tools.trim()) body.tools = parsedJson("Tools", values.tools);
    if (values.thinking !== "default") body.chat_template_kwargs = { enable_thinking: values.thinking === "on" };
    if (values.effort) body.reasoning_effort = values.effort;
    if (values.reasoning) body.reasoning_format = values.reasoning;
    if (values.extra.trim()) Object.assign(body, parsedJson("Further fields", values.extra));
    return body;
  }
}

/** @returns {Partial<Values>} */
function stored() {
  try {
    const value = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    // What an older page has written may lack fields or have others.
    return Object.fromEntries(Object.entries(value).filter(([name, is]) => typeof is === typeof DEFAULTS[/** @type {keyof Values} */ (name)]));
  } catch {
    return {};
  }
}
