"""The native core. Everything per token happens behind these classes."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, final

__version__: str

#: Letter, name and other names of each stage of the sampler chain.
SAMPLERS: list[tuple[str, str, list[str]]]

class InvalidRequestError(ValueError):
    """A request is outside what is allowed. `param` is the request field at fault."""

    param: str

class ContextExceededError(InvalidRequestError):
    """The prompt does not fit the context of one sequence."""

    #: What long texts, which are not tokenized to be refused, have at least; the message says which.
    n_prompt: int
    n_ctx: int

class QueueFullError(RuntimeError):
    """The waiting queue is at its cap."""

class ModelError(RuntimeError):
    """A model file cannot be loaded; the message names file, field and value."""

class UnsupportedError(RuntimeError):
    """The model does not have what is asked for."""

class EngineClosedError(RuntimeError):
    """The engine is shut down."""

def read_gguf(path: str | PathLike[str]) -> dict[str, Any]:
    """What a model file holds, whether or not the engine can run it: `metadata` (without arrays of more
    than 64 elements), `n_tensors`, `n_params`, `size` in bytes, and `types`, the number of tensors of
    each. Raises ModelError, or OSError."""

def measure_limits(n_threads: int = 0) -> dict[str, Any]:
    """What the machine can do with this many threads (0: one a core), measured now: `read` (bytes a
    second from memory), `int8` and `f32` (additions and multiplications a second), with `n_threads`
    and `simd`, the instruction set. Takes about two seconds and a gigabyte of memory for a while."""

def return_large_blocks() -> None:
    """Has the C library give blocks of a megabyte and more back to the system when they are freed, for as long as the
    process runs. A process of many threads whose requests have megabytes keeps as much for each of them otherwise.
    Nothing happens where the C library is not glibc."""

@final
class Tokenizer:
    """A vocabulary with its algorithm. Thread-safe; encode and decode release the GIL."""

    @staticmethod
    def from_gguf(path: str | PathLike[str]) -> Tokenizer: ...
    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]: ...
    def encode_packed(self, text: str, add_special: bool = True, parse_special: bool = False) -> bytes:
        """The ids of `encode` as unsigned 32-bit numbers in the machine's byte order, as `array("I")` reads them: a
        seventh of the memory of a list."""

    def encode_pair(self, query: str, document: str) -> list[int]:
        """Token ids of a query and a document side by side, for models that rank."""

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD. ValueError on an id out of range."""

    def token_bytes(self, token: int, special: bool = True) -> bytes: ...
    def raw_text(self, token: int) -> str: ...
    def is_eog(self, token: int) -> bool: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def bos(self) -> int | None: ...
    @property
    def eos(self) -> int | None: ...
    @property
    def eot(self) -> int | None: ...
    @property
    def fim(self) -> dict[str, int]:
        """Tokens for filling in the middle, as far as there are any: `pre`, `suf`, `mid`, `rep`, `sep`."""

    @property
    def adds_bos(self) -> bool: ...
    @property
    def adds_eos(self) -> bool: ...

@final
class SamplingParams:
    """How one request is sampled. Every keyword is optional; names and defaults are
    llama-server's. Raises InvalidRequestError naming the field, the value and what is allowed."""

    def __new__(
        cls,
        *,
        n_predict: int = -1,
        n: int = 1,
        seed: int = 0xFFFFFFFF,
        temperature: float = 0.8,
        dynatemp_range: float = 0.0,
        dynatemp_exponent: float = 1.0,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        top_n_sigma: float = -1.0,
        xtc_probability: float = 0.0,
        xtc_threshold: float = 0.1,
        typical_p: float = 1.0,
        adaptive_target: float = -1.0,
        adaptive_decay: float = 0.9,
        repeat_last_n: int = 64,
        repeat_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        dry_multiplier: float = 0.0,
        dry_base: float = 1.75,
        dry_allowed_length: int = 2,
        dry_penalty_last_n: int = 64,
        dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*"),
        mirostat: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        logit_bias: Sequence[tuple[int, float]] = (),
        ignore_eos: bool = False,
        samplers: Sequence[str] | None = None,
        n_probs: int = 0,
        prompt_logprobs: int | None = None,
        post_sampling_probs: bool = False,
        min_keep: int = 0,
        stop: Sequence[str] = (),
        stop_token_ids: Sequence[int] = (),
        include_stop_str_in_output: bool = False,
        min_tokens: int = 0,
        preserved_tokens: Sequence[int] = (),
        cache_prompt: bool = True,
        cache_salt: str = "",
        n_keep: int = 0,
        n_discard: int = 0,
        t_max_predict_ms: int = -1,
        return_progress: bool = False,
        id_slot: int = -1,
        lora: Sequence[tuple[int, float]] = (),
    ) -> SamplingParams: ...
    def as_dict(self) -> dict[str, Any]:
        """All fields by name, `samplers` as names, `logit_bias` as (token, bias) pairs, `lora` as (adapter, scale)
        pairs."""

@final
class Grammar:
    """A compiled grammar. Made by `Engine.compile_grammar` or `compile_syntax`."""

    @property
    def ignored_keywords(self) -> list[str]:
        """Places of schema keywords that are accepted but not enforced."""

@final
class Watch:
    """What an answer is watched for while it grows: thoughts, between the two texts of `thought`, and
    the place from which on the request's grammar counts.

    `start` is `at_once`, `after_thought`, or `at_marker`: behind the first of `markers` outside of
    thoughts. A marker is words, with white space between them or none, and whether it counts at the
    start of the answer only. `begun`: the prompt ends inside of a thought. After `budget` tokens a
    thought is closed, behind `budget_message`. Raises InvalidRequestError."""

    def __new__(
        cls,
        start: str = "at_once",
        *,
        markers: Sequence[tuple[Sequence[str], bool]] = ...,
        thought: tuple[str, str] | None = None,
        begun: bool = False,
        budget: int | None = None,
        budget_message: str = ...,
    ) -> Watch: ...

@final
class TokenProb:
    """A token with a log probability before sampling, or a probability after it."""

    @property
    def token(self) -> int: ...
    @property
    def bytes(self) -> bytes: ...
    @property
    def value(self) -> float: ...

@final
class Output:
    """One event of one choice of a request."""

    @property
    def request_id(self) -> int: ...
    @property
    def index(self) -> int:
        """The choice, 0 to n - 1."""

    @property
    def id_slot(self) -> int | None:
        """The slot that it runs in; None for an `error` before it got one and for an `embedding`, which
        needs none."""

    @property
    def kind(self) -> str:
        """`progress`, `prompt`, `token`, `done`, `embedding` or `error`."""

    @property
    def is_last(self) -> bool:
        """Whether it is `done`, `embedding` or `error`, after which nothing follows for the choice."""

    @property
    def text(self) -> str:
        """`token`: the text that became complete (may be empty while a character or a stop string is
        pending). `done`: what was held back and turned out to be text."""

    @property
    def tokens(self) -> list[int]: ...
    @property
    def probs(self) -> list[tuple[TokenProb, list[TokenProb]]]:
        """For each token of `tokens`: itself and the `n_probs` most probable. Empty unless n_probs > 0."""

    @property
    def prompt_prob(self) -> tuple[TokenProb, int, list[TokenProb]] | None:
        """`prompt`: the next token of the prompt, the first one left out, with its log probability; its place
        among all tokens, of which the most probable is 1; and the `prompt_logprobs` most probable."""

    @property
    def progress(self) -> tuple[int, int, int, float] | None:
        """`progress`: prompt tokens in total, from the cache, processed so far; milliseconds."""

    @property
    def finish(self) -> Finish | None: ...
    @property
    def vectors(self) -> list[bytes]:
        """`embedding`: the vector of the text as little-endian f32, or one for each token without
        pooling."""

    @property
    def timings(self) -> Timings | None:
        """Set on `token` and `done`."""

    @property
    def error(self) -> str | None: ...

@final
class Finish:
    @property
    def stop_type(self) -> str:
        """`eos`, `word`, `limit` or `abort`."""

    @property
    def stopping_word(self) -> str: ...
    @property
    def truncated(self) -> bool: ...
    @property
    def has_new_line(self) -> bool: ...
    @property
    def tokens_cached(self) -> int:
        """Tokens of prompt and answer in the cache at the end."""

    @property
    def id_slot(self) -> int: ...
    @property
    def seed(self) -> int:
        """The seed that was used (a random one resolved)."""

@final
class Timings:
    @property
    def cache_n(self) -> int: ...
    @property
    def prompt_n(self) -> int:
        """Prompt tokens computed (not taken from the cache)."""

    @property
    def prompt_ms(self) -> float: ...
    @property
    def predicted_n(self) -> int: ...
    @property
    def predicted_ms(self) -> float: ...

@final
class Engine:
    """One model with its engine thread. All methods are thread-safe."""

    @staticmethod
    def load(
        model: str | PathLike[str],
        *,
        n_ctx: int = 0,
        fit: bool = True,
        fit_target: int | None = None,
        fit_ctx: int = 4096,
        fit_shortens: bool | None = None,
        n_parallel: int | None = None,
        kv_unified: bool | None = None,
        n_batch: int = 2048,
        n_threads: int = 0,
        cache_type_k: str = "f16",
        cache_type_v: str = "f16",
        max_queue: int = 512,
        max_mask_ms: int = 100,
        prefix_cache: bool = True,
        pooling: str | None = None,
        context_shift: bool = False,
        lora: Sequence[str | PathLike[str]] | None = None,
        progress: Callable[[float], bool] | None = None,
    ) -> Engine:
        """Loads a model, with LoRA adapters that requests name by their place, and starts its thread. With `fit` the
        cache takes no memory that is not there, and leaves `fit_target` bytes of it; a context without room is
        shortened, to `fit_ctx` tokens at the least, if it is the model's own (`fit_shortens` None) or that is asked
        for (True), and else refused. Raises ModelError, or ValueError for a setting."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def info(self) -> dict[str, Any]:
        """architecture, n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, n_params, size, `types` (the
        number of tensors of each), generates (False: the model only embeds), n_classes (scores of a
        classification head)."""

    @property
    def adapters(self) -> list[dict[str, Any]]:
        """One dict for each loaded adapter: path, and task_name and prompt_prefix as its file says."""

    @property
    def metadata(self) -> dict[str, Any]:
        """The file's metadata, without arrays of more than 64 elements."""

    @property
    def n_ctx(self) -> int:
        """Context tokens of one slot."""

    @property
    def n_ctx_wanted(self) -> int:
        """Those that the settings ask for; `n_ctx` is less where memory is short."""

    @property
    def n_cache_tokens(self) -> int:
        """Tokens that the cache has room for, over all sequences and what is kept for reuse."""

    @property
    def n_slots(self) -> int: ...
    def compile_grammar(self, kind: str, source: str, *, param: str, strict: bool = False) -> Grammar:
        """`kind`: `gbnf`, `json_schema` (source is the schema's JSON) or `json_object` (source ignored).
        Raises InvalidRequestError with `param` as its field. Releases the GIL."""

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises ContextExceededError where a prompt of these texts is certainly longer than the context,
        which takes no tokenizing to know. Up to a megabyte of text passes. Releases the GIL."""

    def compile_syntax(
        self, lark: str, schemas: Sequence[tuple[str, str, str, bool]], *, param: str, ignored: Sequence[str] = ...
    ) -> Grammar:
        """A grammar in llguidance's Lark dialect, whose text is the caller's own; `@name` in it stands for
        the JSON schema of that name. `schemas` are (name, JSON, field of the request, strict); `ignored` are
        keywords that the caller does not enforce, beside those in the schemas. Raises
        InvalidRequestError. Releases the GIL."""

    def submit(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        grammar: Grammar | None = None,
        watch: Watch | None = None,
        *,
        whole: bool = False,
    ) -> int:
        """Queues a request and returns its id. Its outputs arrive through `drain`, for each of the
        `n` choices ending in `done` or `error`; with `whole` all tokens of a choice come in one output when
        it ends, which wakes nobody before. Raises InvalidRequestError, ContextExceededError,
        QueueFullError, EngineClosedError."""

    @property
    def pooling(self) -> str:
        """`none`, `mean`, `cls`, `last` or `rank`."""

    @property
    def max_embedding_tokens(self) -> int:
        """Tokens that a text to embed may have."""

    def embed(
        self,
        inputs: Sequence[Sequence[int]],
        *,
        normalize: int,
        dimensions: int | None = None,
        lora: Sequence[tuple[int, float]] | None = None,
    ) -> int:
        """Queues texts to embed and returns the request's id; each text ends in `embedding` or `error`.

        `normalize`: -1 not, 0 by the largest magnitude, p by the p-norm; it does not apply to the pooling
        `none` or `rank`. `dimensions` keeps so many of the first values. `lora` are adapters with
        their weights. Raises as `submit`, and UnsupportedError."""

    def abort(self, request_id: int) -> None:
        """Frees the request's sequences within one step; no further outputs. Unknown ids are ignored."""

    def end_thought(self, request_id: int) -> bool:
        """Has the thoughts closed that the request is writing; False where it writes none. Waits for the
        step that runs. EngineClosedError once the engine is shut down."""

    def fileno(self) -> int:
        """Readable while outputs are waiting. Only `drain` makes it unreadable."""

    def drain(self, most: int | None = None) -> list[Output]:
        """The waiting outputs, in order; the next `most` of them, after which the descriptor stays readable if
        there are more. Never blocks."""

    def slots(self) -> list[dict[str, Any]]:
        """One dict per slot: id, is_processing, request_id, n_ctx; n_tokens taken in, n_cached and
        n_processed of the prompt, n_decoded, has_new_line."""

    def stats(self) -> dict[str, Any]:
        """Counts since the engine started: prompt_tokens (computed), prompt_seconds, predicted_tokens,
        predicted_seconds, cache_queries and cache_hits (prompt tokens), steps, step_slots, max_tokens,
        preemptions, blocks_used, blocks, and `ends` by reason. Histograms, in seconds or tokens, as
        (sum, [(bound, observations up to it)]): time_to_first_token, inter_token, queue, prefill, decode,
        whole, prompt_lengths, answer_lengths."""

    def save_slot(self, slot: int, path: str | PathLike[str]) -> tuple[int, int]:
        """Writes what the cache holds of the tokens that a slot ran last to a file: whole or not at all.
        Returns tokens and bytes. Waits until the slot is free. Raises InvalidRequestError, OSError."""

    def restore_slot(self, slot: int, path: str | PathLike[str], cache_salt: str = "") -> tuple[int, int]:
        """Takes a saved file into the cache, where prompts that begin with its tokens and have this salt find it.
        Returns tokens and bytes. Waits until the slot is free. Raises InvalidRequestError for a file that is
        damaged, of another model, of adapters that are not loaded or of other cache types, which changes nothing."""

    def erase_slot(self, slot: int) -> int:
        """Drops what the cache holds of the tokens that a slot ran last, unless other slots ran the same;
        returns their number. Waits until the slot is free."""

    def queue_length(self) -> int: ...
    def is_alive(self) -> bool:
        """False once the engine thread has ended."""

    def score(self, tokens: Sequence[int], first: int) -> list[float]:
        """Log probabilities of tokens[first:], each given all tokens before it, computed in one
        independent sequence without prefix reuse. Blocks; releases the GIL."""

    def logits(self, tokens: Sequence[int]) -> list[float]:
        """Logits after the last of `tokens`, for tests and tools."""

    def bench(self, phase: str, n_tokens: int, *, n_seq: int = 1, depth: int = 0, repeats: int = 5) -> dict[str, Any]:
        """Measures forward passes over random tokens, without sampling; requests wait meanwhile.

        `phase`: `prefill` (n_tokens at once) or `decode` (n_tokens steps of one token), for `n_seq`
        sequences with `depth` tokens in the cache. `seconds` of each repeat after a warm-up; of one
        repeat: `n_steps`, `int_ops` and `float_ops` (additions and multiplications in matrices of
        integers and of floats), `bytes` (matrices and cache that have to be read). Raises
        InvalidRequestError, ContextExceededError. Blocks; releases the GIL."""

    def shutdown(self) -> None:
        """Stops the thread; running requests end with `error`. Idempotent."""
