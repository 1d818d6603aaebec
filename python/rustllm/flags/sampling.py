"""The flags that set defaults of requests. A request's own fields win over them."""

from __future__ import annotations

from rustllm.flags.kinds import Bias, Integer, Kind, Number, Switch, Text, Words
from rustllm.flags.table import Flag, spellings


def _default(
    names: str,
    field: str,
    kind: Kind,
    help: str,
    default: str,
    metavar: str = "N",
    env: str | None = None,
    off: str = "",
    repeats: bool = False,
) -> Flag:
    return Flag(spellings(names), f"sampling.{field}", kind, help, env, metavar, spellings(off), repeats, default)


WHOLE = Integer(-(2**31))

SAMPLING = (
    _default(
        "-n, --predict, --n-predict",
        "n_predict",
        WHOLE,
        "Tokens of an answer at most; -1 is unlimited.",
        "-1",
        env="LLAMA_ARG_N_PREDICT",
    ),
    _default("-s, --seed", "seed", Integer(-1, 2**32 - 1), "Seed; -1 draws a random one.", "-1"),
    _default(
        "--samplers",
        "samplers",
        Words(";"),
        "The sampler chain in order, separated by semicolons.",
        "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature",
        "NAMES",
    ),
    _default(
        "--sampler-seq, --sampling-seq",
        "sampler_letters",
        Text(),
        "The sampler chain, one letter a stage.",
        "edskypmxt",
        "LETTERS",
    ),
    _default(
        "--temp, --temperature",
        "temperature",
        Number(),
        "Temperature; 0 is greedy.",
        "0.8",
        env="LLAMA_ARG_TEMPERATURE",
    ),
    _default("--dynatemp-range", "dynatemp_range", Number(), "Range of the dynamic temperature; 0 is off.", "0.0"),
    _default("--dynatemp-exp", "dynatemp_exponent", Number(), "Exponent of the dynamic temperature.", "1.0"),
    _default("--top-k", "top_k", WHOLE, "Keep the k most probable tokens; 0 is off.", "40", env="LLAMA_ARG_TOP_K"),
    _default(
        "--top-p",
        "top_p",
        Number(),
        "Keep the tokens that make up this probability; 1 is off.",
        "0.95",
        env="LLAMA_ARG_TOP_P",
    ),
    _default(
        "--min-p",
        "min_p",
        Number(),
        "Keep tokens this probable relative to the best; 0 is off.",
        "0.05",
        env="LLAMA_ARG_MIN_P",
    ),
    _default(
        "--top-nsigma, --top-n-sigma",
        "top_n_sigma",
        Number(),
        "Keep logits within this many deviations of the best; -1 is off.",
        "-1.0",
    ),
    _default("--xtc-probability", "xtc_probability", Number(), "Chance of removing the top choices; 0 is off.", "0.0"),
    _default("--xtc-threshold", "xtc_threshold", Number(), "Probability from which a token is a top choice.", "0.1"),
    _default("--typical, --typical-p", "typical_p", Number(), "Locally typical sampling; 1 is off.", "1.0"),
    _default(
        "--adaptive-target", "adaptive_target", Number(), "Target probability of adaptive-p; below 0 is off.", "-1.0"
    ),
    _default("--adaptive-decay", "adaptive_decay", Number(), "How slowly adaptive-p follows, 0 to 0.99.", "0.9"),
    _default("--repeat-last-n", "repeat_last_n", WHOLE, "Tokens that the penalties look at; 0 none, -1 all.", "64"),
    _default(
        "--repeat-penalty",
        "repeat_penalty",
        Number(),
        "Penalty on tokens seen before; 1 is off.",
        "1.0",
        env="LLAMA_ARG_REPEAT_PENALTY",
    ),
    _default(
        "--presence-penalty",
        "presence_penalty",
        Number(),
        "Penalty once a token has appeared; 0 is off.",
        "0.0",
        env="LLAMA_ARG_PRESENCE_PENALTY",
    ),
    _default(
        "--frequency-penalty",
        "frequency_penalty",
        Number(),
        "Penalty for each appearance; 0 is off.",
        "0.0",
        env="LLAMA_ARG_FREQUENCY_PENALTY",
    ),
    _default(
        "--dry-multiplier", "dry_multiplier", Number(), "Strength of the DRY penalty on repeated runs; 0 is off.", "0.0"
    ),
    _default("--dry-base", "dry_base", Number(), "Base of DRY's growth.", "1.75"),
    _default("--dry-allowed-length", "dry_allowed_length", WHOLE, "Longest run that DRY leaves alone.", "2"),
    _default("--dry-penalty-last-n", "dry_penalty_last_n", WHOLE, "Tokens that DRY looks at; 0 none, -1 all.", "64"),
    _default(
        "--dry-sequence-breaker",
        "dry_sequence_breakers",
        Text(),
        "A text that ends a run for DRY, instead of the usual ones; 'none' for no breaker at all. May be repeated.",
        '\\n : " *',
        "TEXT",
        repeats=True,
    ),
    _default("--mirostat", "mirostat", WHOLE, "Mirostat instead of the chain: 0 off, 1, or 2.", "0"),
    _default("--mirostat-lr", "mirostat_eta", Number(), "Mirostat's learning rate.", "0.1"),
    _default("--mirostat-ent", "mirostat_tau", Number(), "Mirostat's target entropy.", "5.0"),
    _default(
        "-l, --logit-bias",
        "logit_bias",
        Bias(),
        "Make a token likelier or less likely. May be repeated.",
        "none",
        "TOKEN(+|-)BIAS",
        repeats=True,
    ),
    _default("--ignore-eos", "ignore_eos", Switch(), "Do not stop at the end-of-text token.", "off", ""),
    _default(
        "--keep", "n_keep", WHOLE, "Tokens of the prompt's start that are kept when text is dropped; -1 all.", "0"
    ),
    _default(
        "-r, --reverse-prompt",
        "stop",
        Text(),
        "A text that ends answers. May be repeated.",
        "none",
        "TEXT",
        repeats=True,
    ),
    _default(
        "--cache-prompt",
        "cache_prompt",
        Switch(),
        "Reuse what the cache holds of a prompt.",
        "on",
        "",
        env="LLAMA_ARG_CACHE_PROMPT",
        off="--no-cache-prompt",
    ),
    Flag(
        ("-e", "--escape"),
        "escape",
        Switch(),
        'Read \\n, \\t, \\" and the like in -r and --dry-sequence-breaker.',
        off_names=("--no-escape",),
        default="on",
    ),
    Flag(("--grammar",), "grammar_text", Text(), "A GBNF grammar for requests without one.", metavar="GRAMMAR"),
    Flag(("--grammar-file",), "grammar_file", Text(), "A file with such a grammar.", metavar="FILE"),
    Flag(("-j", "--json-schema"), "json_schema", Text(), "A JSON schema for requests without one.", metavar="SCHEMA"),
    Flag(("-jf", "--json-schema-file"), "json_schema_file", Text(), "A file with such a schema.", metavar="FILE"),
)
