"""`LLM`: a model in this process. `AsyncLLM` is the same on an event loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from rustllm.llm import answered
from rustllm.llm.bar import progress
from rustllm.llm.jobs import Batch, Job, Prompt
from rustllm.llm.loaded import N_PARALLEL, Loaded, find_model, make_settings, one_of
from rustllm.llm.requests import ChatKeywords, Params, Requests, Work, embeddings, ranked
from rustllm.llm.results import ChatDelta, Completion, Delta, Embedding, Ranked, Reply, Score
from rustllm.llm.stream import Stream

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import Unpack

T = TypeVar("T")
P = TypeVar("P", bound="BaseModel")

#: A message in OpenAI's form: `{"role": "user", "content": "Hi"}`.
Message = Mapping[str, Any]


class LLM:
    """A language model, loaded from a GGUF file, whose batches run together.

    `model` is a file, or a repository of the Hugging Face hub as `USER/REPO` or `USER/REPO:QUANT`, or nothing:
    the story model of 260,000 parameters that comes with the package. Settings have llama-server's names, and
    vLLM's where it has others:

    - `n_ctx` or `max_model_len`: tokens of prompt and answer of each sequence; 0 is the model's own number.
    - `n_parallel` or `max_num_seqs`: sequences that run together.
    - `n_threads`: compute threads; 0 is one a core.
    - `n_batch`: tokens of a step at most.
    - `fit`: whether the cache is fitted into the memory that there is, as the server's `--fit` does.
    - `cache_type_k`, `cache_type_v`: `f16`, `f32` or `q8_0`.
    - `chat_template`: Jinja text or the name of a built-in template, instead of the model's own.
    - `pooling`: how the vectors of a text become one: `mean`, `cls`, `last`, `rank`, `none`; by default the
      model's own, or `mean`.
    - `lora`: files of LoRA adapters, or pairs of file and weight.
    - `context_shift`: whether a full context drops old text and goes on.
    - `hf_token`: for repositories that are not public.

    It may be used from several threads at once. Use it in a `with` block, or call `close`, to free its memory
    and threads at once. A forked child cannot use it (ForkedError); pickled, it takes its settings along and
    loads the model again where it arrives.

    Raises ModelError for a file that cannot be loaded, FileNotFoundError, HubError, and ValueError for a setting.

    >>> llm = LLM()
    >>> llm
    LLM('stories260K.gguf', n_ctx=512, n_parallel=32)
    >>> [out] = llm.generate("Once upon a time", SamplingParams(max_tokens=8, temperature=0))
    >>> out.text
    ', there was a little girl'
    >>> llm.close()
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        n_ctx: int | None = None,
        max_model_len: int | None = None,
        n_parallel: int | None = None,
        max_num_seqs: int | None = None,
        n_threads: int = 0,
        n_batch: int = 2048,
        fit: bool = True,
        cache_type_k: str = "f16",
        cache_type_v: str = "f16",
        chat_template: str | None = None,
        pooling: str | None = None,
        lora: Sequence[str | os.PathLike[str] | tuple[str | os.PathLike[str], float]] = (),
        context_shift: bool = False,
        hf_token: str | None = None,
    ) -> None:
        self._given: dict[str, Any] = {
            "n_ctx": one_of("n_ctx", n_ctx, "max_model_len", max_model_len, 0),
            "n_parallel": one_of("n_parallel", n_parallel, "max_num_seqs", max_num_seqs, N_PARALLEL),
            "n_threads": n_threads,
            "n_batch": n_batch,
            "fit": fit,
            "cache_type_k": cache_type_k,
            "cache_type_v": cache_type_v,
            "chat_template": chat_template,
            "pooling": pooling,
            "lora": list(lora),
            "context_shift": context_shift,
        }
        #: The model's file.
        self.path = find_model(model, hf_token)
        self._loaded = Loaded(make_settings(self.path, **self._given))
        self._requests = Requests(self._loaded)

    @overload
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: Params = None,
        *,
        use_tqdm: bool = True,
        stream: Literal[False] = False,
    ) -> list[Completion]: ...
    @overload
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: Params = None,
        *,
        use_tqdm: bool = True,
        stream: Literal[True],
    ) -> Stream[Delta]: ...
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: Params = None,
        *,
        use_tqdm: bool = True,
        stream: bool = False,
    ) -> list[Completion] | Stream[Delta]:
        """Continues one prompt or many, each a text or its token ids. Returns a Completion for each, in order.

        `sampling_params` are for all prompts, or a list with one for each. Several prompts run together, with a
        progress bar unless `use_tqdm` is false. With `stream` it returns an iterator of Deltas as they come; closing
        it aborts what has not ended. So does KeyboardInterrupt, and any error of one prompt.

        Raises InvalidRequestError, ContextExceededError, UnsupportedError, GenerationError, EngineClosedError.

        >>> with LLM() as llm:
        ...     params = SamplingParams(max_tokens=4, temperature=0)
        ...     outs = llm.generate(["Once upon", "The cat"], params, use_tqdm=False)
        ...     parts = [delta.text for delta in llm.generate("Once upon", params, stream=True)]
        >>> len(outs), outs[0].finish_reason, outs[0].usage.completion_tokens
        (2, 'length', 4)
        >>> "".join(parts) == outs[0].text
        True
        """
        work = self._requests.generate(prompts, sampling_params)
        if stream:
            return Stream(self._loaded.dispatcher, work, answered.Deltas(work.jobs).of)
        return self._run(work, self._requests.completion, "generate", use_tqdm)

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        sampling_params: Params = None,
        *,
        response_format: type[P],
        use_tqdm: bool = True,
        stream: Literal[False] = False,
        **options: Unpack[ChatKeywords],
    ) -> Reply[P]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        response_format: type[P],
        use_tqdm: bool = True,
        stream: Literal[False] = False,
        **options: Unpack[ChatKeywords],
    ) -> list[Reply[P]]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        sampling_params: Params = None,
        *,
        response_format: Mapping[str, Any] | None = None,
        use_tqdm: bool = True,
        stream: Literal[False] = False,
        **options: Unpack[ChatKeywords],
    ) -> Reply[Any]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        response_format: Mapping[str, Any] | None = None,
        use_tqdm: bool = True,
        stream: Literal[False] = False,
        **options: Unpack[ChatKeywords],
    ) -> list[Reply[Any]]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        response_format: type[BaseModel] | Mapping[str, Any] | None = None,
        use_tqdm: bool = True,
        stream: Literal[True],
        **options: Unpack[ChatKeywords],
    ) -> Stream[ChatDelta]: ...
    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        response_format: type[BaseModel] | Mapping[str, Any] | None = None,
        use_tqdm: bool = True,
        stream: bool = False,
        **options: Unpack[ChatKeywords],
    ) -> Reply[Any] | list[Reply[Any]] | Stream[ChatDelta]:
        """Answers a conversation, or a list of them together. Returns a Reply, or a list of them in order.

        Messages are OpenAI's. `response_format` is a pydantic model's class, a JSON schema or OpenAI's own form: the
        answer is held to it while it is made, and `parsed` has the value. `options` are those of `ChatKeywords`:
        tools, tool_choice, enable_thinking and others. With `stream` it returns an iterator of ChatDeltas.

        Raises what `generate` raises, MessageError, ToolError and TemplateError, all of them ValueErrors whose `param`
        names the place; pydantic's ValidationError where its own validators refuse an answer.

        >>> schema = {"type": "object", "properties": {"n": {"type": "integer", "enum": [1]}}, "required": ["n"],
        ...           "additionalProperties": False}
        >>> with LLM() as llm:
        ...     reply = llm.chat([{"role": "user", "content": "Hi"}], response_format=schema)
        >>> reply.parsed
        {'n': 1}
        """
        work, many = self._requests.chat(messages, sampling_params, response_format, options)
        if stream:
            return Stream(self._loaded.dispatcher, work, answered.ChatDeltas(work.jobs).of)
        replies = self._run(work, self._requests.reply, "chat", use_tqdm)
        return replies if many else replies[0]

    def embed(
        self,
        texts: Prompt | Sequence[Prompt],
        *,
        normalize: int = 2,
        dimensions: int | None = None,
        use_tqdm: bool = True,
    ) -> list[Embedding]:
        """The vector of each text, in order; a text is also given as token ids.

        `normalize` is what vectors are divided by: -1 nothing, 0 their largest magnitude, p their p-norm.
        `dimensions` keeps so many of the first values. Raises InvalidRequestError, ContextExceededError,
        UnsupportedError, GenerationError, EngineClosedError.

        >>> with LLM() as llm:
        ...     [one, same] = llm.embed(["A cat.", "A cat."])
        >>> len(one), round(one.similarity(same), 4)
        (64, 1.0)
        """
        tokens = self._requests.embed(texts)
        return embeddings(tokens, self._vectors(tokens, "embed", use_tqdm, normalize, dimensions))

    def rerank(
        self, query: str, documents: Sequence[str], *, top_n: int | None = None, use_tqdm: bool = True
    ) -> list[Ranked]:
        """The documents by their relevance to `query`, the best first, `top_n` of them at most. It needs a model
        that ranks. Raises UnsupportedError for others, and what `embed` raises.

        >>> with LLM() as llm:
        ...     llm.rerank("a cat", ["Cats purr.", "Dogs bark."])
        Traceback (most recent call last):
        rustllm._rustllm.UnsupportedError: this model does not rank documents; load one that does, with pooling='rank'
        """
        tokens = self._requests.rerank(query, documents, top_n)
        return ranked(documents, self._vectors(tokens, "rerank", use_tqdm, -1, None), top_n)

    def score(
        self,
        texts: Prompt | Sequence[Prompt],
        prompts: Prompt | Sequence[Prompt] | None = None,
        *,
        use_tqdm: bool = True,
    ) -> list[Score]:
        """The log probability of each token of each text, in nats, given all before it.

        Without `prompts` a text's first token, which nothing precedes, has none: with most models that is BOS. With
        `prompts`, one for all or one for each, only the text's own tokens are scored, behind its prompt. Raises what
        `generate` raises.

        >>> with LLM() as llm:
        ...     good, odd = llm.score([" there was a girl", " xylophone quarks"], "Once upon a time,")
        >>> good.total > odd.total
        True
        """
        asked = self._requests.score(texts, prompts)
        return asked.results(self._run(asked.work, lambda _, choices: choices, "score", use_tqdm))

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """The token ids of a text. `add_special` adds what the model wants at its ends, such as BOS; `parse_special`
        reads the names of special tokens as these. Raises EngineClosedError.

        >>> with LLM() as llm:
        ...     llm.detokenize(llm.tokenize("Once upon a time", add_special=False))
        ' Once upon a time'
        """
        self._loaded.check()
        return self._loaded.native.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, token_ids: Sequence[int], *, special: bool = False) -> str:
        """The text of token ids; with `special`, special tokens by their names. Bytes that are not UTF-8 become
        U+FFFD. ValueError where an id is out of range.

        >>> with LLM() as llm:
        ...     llm.detokenize([9999])
        Traceback (most recent call last):
        ValueError: token id 9999 is out of range; allowed: 0 to 511
        """
        self._loaded.check()
        return self._loaded.native.tokenizer.decode(token_ids, special)

    @property
    def n_ctx(self) -> int:
        """Tokens of prompt and answer of each sequence."""
        return self._loaded.native.n_ctx

    @property
    def info(self) -> dict[str, Any]:
        """What the model is: architecture, n_vocab, n_ctx_train, n_embd, n_layer, n_params, size in bytes and more.

        >>> with LLM() as llm:
        ...     llm.info["architecture"], llm.info["n_params"]
        ('llama', 292800)
        """
        return self._loaded.native.info

    def close(self) -> None:
        """Frees the model's memory and threads. What runs in other threads ends with GenerationError; later use
        raises EngineClosedError. Idempotent.

        >>> llm = LLM()
        >>> llm.close()
        >>> llm.generate("Hi")
        Traceback (most recent call last):
        rustllm._rustllm.EngineClosedError: the model is closed
        """
        self._loaded.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        closed = "" if self._loaded.close.alive else ", closed"
        return f"LLM({self.path.name!r}, n_ctx={self.n_ctx}, n_parallel={self._given['n_parallel']}{closed})"

    def __reduce__(self) -> tuple[Callable[..., LLM], tuple[str, dict[str, Any]]]:
        return _load_again, (os.path.abspath(self.path), self._given)

    def _run(self, work: Work, finish: Callable[[Job, Any], T], name: str, use_tqdm: bool) -> list[T]:
        """The results of jobs that run together. Whatever ends it early aborts those that have not ended."""
        done: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        jobs = work.jobs
        results: list[Any] = [None] * len(jobs)
        with Batch(self._loaded.dispatcher, lambda number, item: done.put((number, item))) as batch:
            for number, job in enumerate(jobs):
                try:
                    batch.submit(number, job)
                except Exception as error:
                    raise work.error(number, error) from None
            with progress(len(jobs), name, use_tqdm) as advance:
                for _ in jobs:
                    number, item = done.get()
                    if isinstance(item, Exception):
                        raise work.error(number, item)
                    results[number] = finish(jobs[number], item)
                    advance(1)
        return results

    def _vectors(
        self, tokens: list[list[int]], name: str, use_tqdm: bool, normalize: int, dimensions: int | None
    ) -> list[list[bytes]]:
        done: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        results: list[list[bytes]] = [[]] * len(tokens)
        if not tokens:
            return results
        with Batch(self._loaded.dispatcher, lambda number, item: done.put((number, item))) as batch:
            batch.embed(tokens, normalize, dimensions, self._loaded.jobs.lora)
            with progress(len(tokens), name, use_tqdm) as advance:
                for _ in tokens:
                    number, item = done.get()
                    if isinstance(item, Exception):
                        raise item
                    results[number] = item
                    advance(1)
        return results


def _load_again(path: str, given: dict[str, Any]) -> LLM:
    return LLM(path, **given)
