"""The flags that set up the model and the server, by group of the help text."""

from __future__ import annotations

from rustllm.chat.reasoning import REASONING_FORMATS
from rustllm.flags.kinds import AdapterFiles, Choice, Integer, JsonObject, Kind, Switch, Text, Words
from rustllm.flags.table import Flag, spellings

CACHE_TYPES = Choice(("f16", "f32", "q8_0"))
SWITCH_WORDS = ("on", "off", "auto")


def _flag(
    names: str,
    target: str,
    kind: Kind,
    env: str | None,
    help: str,
    metavar: str = "",
    off: str = "",
    repeats: bool = False,
    default: str = "",
) -> Flag:
    return Flag(spellings(names), target, kind, help, env, metavar, spellings(off), repeats, default)


GENERAL = (
    _flag("-h, --help, --usage", "help", Switch(), None, "Show this text and exit."),
    _flag("--version", "version", Switch(), None, "Show the version and exit."),
)

MODEL = (
    _flag(
        "-m, --model",
        "model",
        Text(),
        "LLAMA_ARG_MODEL",
        "The GGUF file to serve. Without it (and without -hf) a small embedded story model is served.",
        "FILE",
    ),
    _flag(
        "-a, --alias",
        "aliases",
        Words(),
        "LLAMA_ARG_ALIAS",
        "The model's names in the API, comma-separated; the first is the usual one.",
        "NAMES",
        default="the file's name",
    ),
    _flag(
        "--tags",
        "tags",
        Words(),
        "LLAMA_ARG_TAGS",
        "Words about the model for /v1/models, comma-separated.",
        "TAGS",
    ),
    _flag(
        "-hf, -hfr, --hf-repo",
        "hf_repo",
        Text(),
        "LLAMA_ARG_HF_REPO",
        "Download the model from this Hugging Face repository. The quantization defaults to Q4_K_M, and to the "
        "first GGUF file of a repository without one.",
        "USER/REPO[:QUANT]",
    ),
    _flag("-hff, --hf-file", "hf_file", Text(), "LLAMA_ARG_HF_FILE", "The file of the repository to take.", "FILE"),
    _flag("-hft, --hf-token", "hf_token", Text(), "HF_TOKEN", "Access token for private repositories.", "TOKEN"),
    _flag("--offline", "offline", Switch(), "LLAMA_ARG_OFFLINE", "Take -hf models from the local cache alone."),
    _flag(
        "-c, --ctx-size",
        "n_ctx",
        Integer(0),
        "LLAMA_ARG_CTX_SIZE",
        "Context tokens over all slots; 0 takes the model's own.",
        "N",
    ),
    _flag(
        "-np, --parallel",
        "n_parallel",
        Integer(1, 1024, "automatic"),
        "LLAMA_ARG_N_PARALLEL",
        "Slots, among which the context is divided; -1 gives four that share it. See -kvu.",
        "N",
        default="-1",
    ),
    _flag(
        "-kvu, --kv-unified",
        "kv_unified",
        Switch(),
        "LLAMA_ARG_KV_UNIFIED",
        "Whether each slot may use all of the context instead of its share.",
        off="-no-kvu, --no-kv-unified",
        default="on if -np is -1",
    ),
    _flag(
        "-b, --batch-size",
        "n_batch",
        Integer(1, 65536),
        "LLAMA_ARG_BATCH",
        "Most prompt tokens computed in one step, over all sequences; each running answer adds its next token.",
        "N",
    ),
    _flag(
        "-t, --threads",
        "n_threads",
        Integer(-1, 1024),
        "LLAMA_ARG_THREADS",
        "Compute threads; 0 and -1 take the number of cores.",
        "N",
    ),
    _flag(
        "-ctk, --cache-type-k", "cache_type_k", CACHE_TYPES, "LLAMA_ARG_CACHE_TYPE_K", "Type of cached keys.", "TYPE"
    ),
    _flag(
        "-ctv, --cache-type-v", "cache_type_v", CACHE_TYPES, "LLAMA_ARG_CACHE_TYPE_V", "Type of cached values.", "TYPE"
    ),
    _flag(
        "--lora",
        "lora",
        AdapterFiles(scaled=False),
        None,
        "LoRA adapters to load, GGUF files between commas; requests name them by their number (lora), and those that "
        "name none run with all of them.",
        "FILES",
        repeats=True,
        default="none",
    ),
    _flag(
        "--lora-scaled",
        "lora",
        AdapterFiles(scaled=True),
        None,
        "The same with the weight that each has in requests that name none.",
        "FILE:SCALE,...",
        repeats=True,
        default="none",
    ),
    _flag(
        "--lora-init-without-apply",
        "lora_init_without_apply",
        Switch(),
        None,
        "Load the adapters with weight 0, for requests or POST /lora-adapters to switch on.",
    ),
    _flag(
        "--context-shift",
        "context_shift",
        Switch(),
        "LLAMA_ARG_CONTEXT_SHIFT",
        "Drop the older half of the text when a context is full and go on, instead of ending the answer. What is "
        "left is computed again, so that answers go on from it exactly.",
        off="--no-context-shift",
    ),
    _flag(
        "--spm-infill",
        "spm_infill",
        Switch(),
        None,
        "Put the suffix before the prefix in prompts of /infill, as some models were trained.",
    ),
    _flag(
        "--sleep-idle-seconds",
        "sleep_idle_seconds",
        Integer(1, minus_one="never"),
        None,
        "Unload the model after so many seconds without a request; the next one loads it again. -1 never does.",
        "SECONDS",
    ),
    _flag(
        "-fa, --flash-attn",
        "flash_attn",
        Choice(SWITCH_WORDS),
        "LLAMA_ARG_FLASH_ATTN",
        "Accepted and without effect: there is one attention path.",
        "[on|off|auto]",
    ),
)

#: Several models in one server.
ROUTER = (
    _flag(
        "--models-dir",
        "models_dir",
        Text(),
        "LLAMA_ARG_MODELS_DIR",
        "Serve the GGUF files of this directory and those of the hub's cache, each by its name in a process of its "
        "own. -m and -hf serve one model instead.",
        "DIRECTORY",
    ),
    _flag(
        "--models-preset",
        "models_preset",
        Text(),
        "LLAMA_ARG_MODELS_PRESET",
        "An INI file with flags for models by name, [*] for all; it also adds models.",
        "FILE",
    ),
    _flag(
        "--models-max",
        "models_max",
        Integer(0),
        "LLAMA_ARG_MODELS_MAX",
        "Models that may be loaded at once; the one that was used least recently makes room. 0 sets no limit.",
        "N",
    ),
    _flag(
        "--models-autoload",
        "models_autoload",
        Switch(),
        "LLAMA_ARG_MODELS_AUTOLOAD",
        "Whether a request loads the model that it names.",
        off="--no-models-autoload",
    ),
)

EMBEDDING = (
    _flag(
        "--embedding, --embeddings",
        "embeddings",
        Switch(),
        "LLAMA_ARG_EMBEDDINGS",
        "Serve the embedding endpoints; always on where the model can do nothing else.",
    ),
    _flag(
        "--rerank, --reranking",
        "reranking",
        Switch(),
        "LLAMA_ARG_RERANKING",
        "Serve the rerank endpoints; always on where the model can do nothing else.",
    ),
    _flag(
        "--pooling",
        "pooling",
        Choice(("none", "mean", "cls", "last", "rank")),
        "LLAMA_ARG_POOLING",
        "How the vectors of a text's tokens become one.",
        "none|mean|cls|last|rank",
        default="the model's own",
    ),
    _flag(
        "--embd-normalize",
        "embd_normalize",
        Integer(-1),
        None,
        "What vectors are divided by: -1 nothing, 0 the largest magnitude over 32760, 1 the sum of magnitudes, "
        "2 the Euclidean norm, above 2 the p-norm.",
        "N",
    ),
)

CHAT = (
    _flag(
        "--jinja",
        "jinja",
        Switch(),
        "LLAMA_ARG_JINJA",
        "Run chat templates as Jinja; off, the template is only recognised as one of the built-in ones.",
        off="--no-jinja",
    ),
    _flag(
        "--chat-template",
        "chat_template",
        Text(),
        "LLAMA_ARG_CHAT_TEMPLATE",
        "A template's text, or the name of a built-in one such as chatml, llama3 or gemma.",
        "TEMPLATE",
    ),
    _flag(
        "--chat-template-file",
        "chat_template_file",
        Text(),
        "LLAMA_ARG_CHAT_TEMPLATE_FILE",
        "A file with the template.",
        "FILE",
    ),
    _flag(
        "--chat-template-kwargs",
        "template_kwargs",
        JsonObject(),
        "LLAMA_ARG_CHAT_TEMPLATE_KWARGS, LLAMA_CHAT_TEMPLATE_KWARGS",
        "Values for the template, as a JSON object.",
        "JSON",
        default="none",
    ),
    _flag(
        "--allow-template-kwargs",
        "allowed_template_kwargs",
        Words(),
        "RUSTLLM_ALLOW_TEMPLATE_KWARGS",
        "Further names that requests may set in chat_template_kwargs.",
        "NAMES",
    ),
    _flag(
        "--prefill-assistant",
        "prefill_assistant",
        Switch(),
        "LLAMA_ARG_PREFILL_ASSISTANT",
        "Continue a last message of the assistant instead of answering it.",
        off="--no-prefill-assistant",
    ),
    _flag(
        "-rea, --reasoning",
        "reasoning",
        Choice(SWITCH_WORDS),
        "LLAMA_ARG_REASONING",
        "Tell the template to let the model think, not to, or nothing (auto).",
        "on|off|auto",
    ),
    _flag(
        "--reasoning-format",
        "reasoning_format",
        Choice(REASONING_FORMATS),
        "LLAMA_ARG_THINK",
        "What becomes of thoughts: none leaves them in the text, deepseek puts them into reasoning_content, "
        "deepseek-legacy does both in whole answers, auto is deepseek.",
        "none|auto|deepseek|deepseek-legacy",
    ),
    _flag(
        "--reasoning-budget",
        "reasoning_budget",
        Integer(-1),
        "LLAMA_ARG_THINK_BUDGET",
        "Tokens that a thought may take before it is closed; -1 leaves thinking alone, 0 turns it off.",
        "N",
    ),
    _flag(
        "--reasoning-budget-message",
        "reasoning_budget_message",
        Text(),
        "LLAMA_ARG_THINK_BUDGET_MESSAGE",
        "What is written before the end of a thought that has used up its tokens.",
        "TEXT",
        default="none",
    ),
    _flag(
        "--skip-chat-parsing",
        "skip_chat_parsing",
        Switch(),
        "LLAMA_ARG_SKIP_CHAT_PARSING",
        "Leave thoughts and calls in the text of answers, which then follow no grammar of tools.",
        off="--no-skip-chat-parsing",
    ),
    _flag(
        "--reasoning-effort",
        "reasoning_effort",
        Text(),
        "LLAMA_ARG_REASONING_EFFORT",
        "The effort that the template is told, such as low, medium or high.",
        "LEVEL",
        default="default",
    ),
    _flag(
        "--reasoning-preserve",
        "reasoning_preserve",
        Switch(),
        "LLAMA_ARG_REASONING_PRESERVE",
        "Tell the template to keep the reasoning of earlier answers; on by default.",
        off="--no-reasoning-preserve",
    ),
)

SERVER = (
    _flag(
        "--host",
        "host",
        Text(),
        "LLAMA_ARG_HOST",
        "Address to listen on, or the path of a Unix socket, which ends in .sock.",
        "ADDRESS",
    ),
    _flag("--port", "port", Integer(0, 65535), "LLAMA_ARG_PORT", "Port to listen on; 0 takes a free one.", "PORT"),
    _flag("--api-prefix", "api_prefix", Text(), "LLAMA_ARG_API_PREFIX", "Path before all routes.", "PREFIX"),
    _flag(
        "--api-key",
        "api_keys",
        Words(),
        "LLAMA_API_KEY",
        "Keys that requests must show one of, comma-separated.",
        "KEYS",
        repeats=True,
    ),
    _flag(
        "--api-key-file",
        "api_key_file",
        Text(),
        "LLAMA_ARG_API_KEY_FILE",
        "A file with one key a line; lines that start with # are comments. Behind a key may stand name=NAME, "
        "requests_per_minute=N, tokens_per_minute=N and weight=N (or priority=N), its share where keys compete.",
        "FILE",
    ),
    _flag(
        "--cache-per-key",
        "cache_per_key",
        Switch(),
        "RUSTLLM_CACHE_PER_KEY",
        "Keys share nothing in the cache, so that none can learn by timing what another's prompts begin with.",
        off="--no-cache-per-key",
    ),
    _flag(
        "--cors-origins",
        "cors_origins",
        Words(),
        "LLAMA_ARG_CORS_ORIGINS",
        "Origins that browsers may call from, comma-separated; * is all. Pages of localhost always may.",
        "ORIGINS",
        default="localhost",
    ),
    _flag(
        "--allowed-hosts",
        "allowed_hosts",
        Words(),
        "RUSTLLM_ALLOWED_HOSTS",
        "Names that requests may have as their Host, comma-separated, such as a proxy's: *.example.org is all below, "
        "* is all. On 127.0.0.1 others than localhost and addresses are refused, against DNS rebinding; elsewhere "
        "they are once this is given.",
        "NAMES",
        default="localhost, on a loopback address",
    ),
    _flag(
        "--sse-ping-interval",
        "sse_ping_interval",
        Integer(1, minus_one="never"),
        "LLAMA_ARG_SSE_PING_INTERVAL",
        "Send a comment in a stream after so many seconds without an event, so that proxies keep it.",
        "SECONDS",
    ),
    _flag("--ssl-key-file", "ssl_key_file", Text(), "LLAMA_ARG_SSL_KEY_FILE", "Private key, for HTTPS.", "FILE"),
    _flag("--ssl-cert-file", "ssl_cert_file", Text(), "LLAMA_ARG_SSL_CERT_FILE", "Certificate, for HTTPS.", "FILE"),
    _flag(
        "--slots",
        "slots",
        Switch(),
        "LLAMA_ARG_ENDPOINT_SLOTS",
        "Whether /slots answers.",
        off="--no-slots",
    ),
    _flag(
        "--props",
        "props",
        Switch(),
        "LLAMA_ARG_ENDPOINT_PROPS",
        "Whether POST /props answers. It changes nothing, as in llama-server.",
    ),
    _flag(
        "--metrics",
        "metrics",
        Switch(),
        "LLAMA_ARG_ENDPOINT_METRICS",
        "Whether /metrics answers, with counts and latencies for Prometheus.",
    ),
    _flag(
        "--slot-save-path",
        "slot_save_path",
        Text(),
        "LLAMA_ARG_SLOT_SAVE_PATH",
        "Directory for what POST /slots/ID?action=save writes; without it slots cannot be saved.",
        "DIRECTORY",
    ),
    _flag(
        "--path",
        "static_path",
        Text(),
        "LLAMA_ARG_STATIC_PATH",
        "Directory with files to serve at / instead of the chat page, beside the API.",
        "DIRECTORY",
    ),
    _flag(
        "--ui, --webui",
        "webui",
        Switch(),
        "LLAMA_ARG_UI, LLAMA_ARG_WEBUI",
        "Whether there are pages: the chat at / and /dashboard, or those of --path.",
        off="--no-ui, --no-webui",
    ),
    _flag(
        "--ui-config, --webui-config",
        "ui_settings",
        JsonObject(),
        "LLAMA_ARG_UI_CONFIG, LLAMA_ARG_WEBUI_CONFIG",
        "What the chat page starts with, as a JSON object: sampling fields, systemMessage, theme.",
        "JSON",
    ),
    _flag(
        "--ui-config-file, --webui-config-file",
        "ui_settings_file",
        Text(),
        "LLAMA_ARG_UI_CONFIG_FILE, LLAMA_ARG_WEBUI_CONFIG_FILE",
        "The same, from a file.",
        "FILE",
    ),
    _flag(
        "--strict-schema",
        "strict_schema",
        Switch(),
        "RUSTLLM_STRICT_SCHEMA",
        "Refuse JSON schemas with keywords that cannot be enforced, instead of naming them in a header.",
        off="--no-strict-schema",
    ),
)

LOGGING = (
    _flag(
        "-v, --verbose, --log-verbose",
        "verbose",
        Switch(),
        None,
        "Log everything, and add a __verbose part to answers.",
    ),
    _flag(
        "-lv, --verbosity, --log-verbosity",
        "verbosity",
        Integer(0),
        "LLAMA_ARG_LOG_VERBOSITY, LLAMA_LOG_VERBOSITY",
        "0 logs nothing, 1 errors, 2 warnings, 3 a line per request, 4 and above details.",
        "N",
    ),
    _flag("--log-disable", "log_disable", Switch(), None, "Log nothing."),
    _flag(
        "--log-file",
        "log_file",
        Text(),
        "LLAMA_ARG_LOG_FILE, LLAMA_LOG_FILE",
        "Append the log to this file as well.",
        "FILE",
    ),
    _flag(
        "--log-format",
        "log_format",
        Choice(("text", "json")),
        "RUSTLLM_LOG_FORMAT",
        "Lines of key=value pairs, or JSON objects.",
        "text|json",
    ),
    _flag(
        "--log-jsonl",
        "log_jsonl",
        Switch(),
        "LLAMA_ARG_LOG_JSONL",
        "The same as --log-format json.",
        off="--no-log-jsonl",
    ),
)
