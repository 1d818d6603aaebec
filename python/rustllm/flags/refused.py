"""Flags of llama-server that would change answers or what is served: refused until they exist here."""

from __future__ import annotations

from rustllm.flags.table import Refused, spellings

ROPE = "rotary settings come from the model file alone"
VECTOR = "control vectors are not supported yet, and answers would differ without them"
DRAFT = "draft models are not supported yet"
MEDIA = "images, sound and video are not supported yet"
REMOTE = "a model is computed on the machine that serves it"
TOOLS = "the server runs no tools of its own"
PRESET = "presets are not supported; name a model with -hf"

_ROWS: tuple[tuple[str, str | None, int, str, tuple[str, ...]], ...] = (
    ("--rope-scaling", "LLAMA_ARG_ROPE_SCALING_TYPE", 1, ROPE, ()),
    ("--rope-scale", "LLAMA_ARG_ROPE_SCALE", 1, ROPE, ()),
    ("--rope-freq-base", "LLAMA_ARG_ROPE_FREQ_BASE", 1, ROPE, ("0", "0.0")),
    ("--rope-freq-scale", "LLAMA_ARG_ROPE_FREQ_SCALE", 1, ROPE, ("0", "0.0")),
    ("--yarn-orig-ctx", "LLAMA_ARG_YARN_ORIG_CTX", 1, ROPE, ("0",)),
    ("--yarn-ext-factor", "LLAMA_ARG_YARN_EXT_FACTOR", 1, ROPE, ("-1", "-1.0")),
    ("--yarn-attn-factor", "LLAMA_ARG_YARN_ATTN_FACTOR", 1, ROPE, ("-1", "-1.0")),
    ("--yarn-beta-slow", "LLAMA_ARG_YARN_BETA_SLOW", 1, ROPE, ("-1", "-1.0")),
    ("--yarn-beta-fast", "LLAMA_ARG_YARN_BETA_FAST", 1, ROPE, ("-1", "-1.0")),
    ("--override-kv", None, 1, "metadata is taken from the model file as it is", ()),
    ("--control-vector", None, 1, VECTOR, ()),
    ("--control-vector-scaled", None, 1, VECTOR, ()),
    ("--control-vector-layer-range", None, 2, VECTOR, ()),
    ("--spec-draft-model, -md, --model-draft", "LLAMA_ARG_SPEC_DRAFT_MODEL", 1, DRAFT, ()),
    ("--spec-draft-hf, -hfd, -hfrd, --hf-repo-draft", "LLAMA_ARG_SPEC_DRAFT_HF_REPO", 1, DRAFT, ()),
    ("--spec-type", "LLAMA_ARG_SPEC_TYPE", 1, DRAFT, ("none",)),
    ("--spec-default", None, 0, DRAFT, ()),
    ("-mm, --mmproj", "LLAMA_ARG_MMPROJ", 1, MEDIA, ()),
    ("-mmu, --mmproj-url", "LLAMA_ARG_MMPROJ_URL", 1, MEDIA, ()),
    ("--rpc", "LLAMA_ARG_RPC", 1, REMOTE, ()),
    ("--tools", "LLAMA_ARG_TOOLS", 1, TOOLS, ()),
    ("--tools-runtime", "LLAMA_ARG_TOOLS_RUNTIME", 1, TOOLS, ()),
    ("-ag, --agent", "LLAMA_ARG_AGENT", 0, TOOLS, ()),
    ("--mcp-servers-config", "LLAMA_ARG_MCP_SERVERS_CONFIG", 1, TOOLS, ()),
    ("--mcp-servers-json", "LLAMA_ARG_MCP_SERVERS_JSON", 1, TOOLS, ()),
    ("-mu, --model-url", "LLAMA_ARG_MODEL_URL", 1, "download the file and name it with -m, or use -hf", ()),
    ("-dr, --docker-repo", "LLAMA_ARG_DOCKER_REPO", 1, "download the file and name it with -m, or use -hf", ()),
    ("-cl, --cache-list", None, 0, "`hf cache ls` lists downloaded models", ()),
    ("--list-devices", None, 0, "models run on the CPU", ()),
    ("--completion-bash", None, 0, "there is no completion script yet", ()),
    ("--kv-unified-per-slot", "LLAMA_ARG_KV_UNIFIED_PER_SLOT", 1, "-c and -np set the context of a slot", ()),
    ("--cache-reuse", "LLAMA_ARG_CACHE_REUSE", 1, "moving cached text to other places would change answers", ("0",)),
    ("-sp, --special", None, 0, "special tokens are never part of an answer's text", ()),
    ("-gan, --grp-attn-n", None, 1, "self-extension is not supported", ("1",)),
    ("-gaw, --grp-attn-w", None, 1, "self-extension is not supported", ()),
    (
        "--embd-gemma-default, --fim-qwen-1.5b-default, --fim-qwen-3b-default, --fim-qwen-7b-default, "
        "--fim-qwen-7b-spec, --fim-qwen-14b-spec, --fim-qwen-30b-default, --gpt-oss-20b-default, "
        "--gpt-oss-120b-default, --vision-gemma-4b-default, --vision-gemma-12b-default",
        None,
        0,
        PRESET,
        (),
    ),
)

REFUSED = tuple(Refused(spellings(names), values, why, env, harmless) for names, env, values, why, harmless in _ROWS)
