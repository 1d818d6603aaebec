"""`AsyncLLM`: `LLM` for asyncio, with the same arguments and results.

The model's thread is `LLM`'s; what comes of a request is handed to the loop that waits for it, so one `AsyncLLM`
serves any loop, and several one after the other.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from rustllm.llm import answered
from rustllm.llm.bar import progress
from rustllm.llm.jobs import Batch, Job, Prompt
from rustllm.llm.llm import LLM, Message
from rustllm.llm.requests import ChatKeywords, Params, Work, embeddings, ranked
from rustllm.llm.results import ChatDelta, Completion, Delta, Embedding, Ranked, Reply, Score
from rustllm.llm.stream import Read

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import Unpack

T = TypeVar("T")
D = TypeVar("D")
P = TypeVar("P", bound="BaseModel")


class AsyncLLM:
    """`LLM` for asyncio. Its arguments are `LLM`'s, or an `LLM` that is loaded already and shared.

    Loading takes its time on the calling thread; `await AsyncLLM.load(…)` leaves the loop free meanwhile.
    Cancelling a task that awaits a result aborts its requests; so does closing a stream.

    >>> import asyncio
    >>> async def main():
    ...     async with AsyncLLM() as llm:
    ...         params = SamplingParams(max_tokens=4, temperature=0)
    ...         one, two = await asyncio.gather(llm.generate("Once upon", params), llm.generate("The cat", params))
    ...         parts = [delta.text async for delta in llm.generate("Once upon", params, stream=True)]
    ...         return "".join(parts) == one[0].text
    >>> asyncio.run(main())
    True
    """

    def __init__(self, model: LLM | str | os.PathLike[str] | None = None, **settings: Any) -> None:
        if isinstance(model, LLM) and settings:
            raise TypeError(f"{next(iter(settings))}: settings are those of the LLM that was given")
        self._llm = model if isinstance(model, LLM) else LLM(model, **settings)

    @classmethod
    async def load(cls, model: str | os.PathLike[str] | None = None, **settings: Any) -> AsyncLLM:
        """Loads a model on a thread. Raises what `LLM` raises.

        >>> import asyncio
        >>> async def main():
        ...     async with await AsyncLLM.load() as llm:
        ...         return llm.info["architecture"]
        >>> asyncio.run(main())
        'llama'
        """
        return cls(await asyncio.to_thread(lambda: LLM(model, **settings)))

    @overload
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: Params = None,
        *,
        use_tqdm: bool = False,
        stream: Literal[False] = False,
    ) -> Coroutine[Any, Any, list[Completion]]: ...
    @overload
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: Params = None,
        *,
        use_tqdm: bool = False,
        stream: Literal[True],
    ) -> AsyncStream[Delta]: ...
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: Params = None,
        *,
        use_tqdm: bool = False,
        stream: bool = False,
    ) -> Coroutine[Any, Any, list[Completion]] | AsyncStream[Delta]:
        """As `LLM.generate`: awaited for the results, or with `stream` an asynchronous iterator of Deltas."""
        requests = self._llm._requests

        def prepare() -> Work:
            return requests.generate(prompts, sampling_params)

        if stream:
            return AsyncStream(self._llm, prepare, lambda work: answered.Deltas(work.jobs).of)
        return self._run(prepare, requests.completion, "generate", use_tqdm)

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        sampling_params: Params = None,
        *,
        response_format: type[P],
        use_tqdm: bool = False,
        stream: Literal[False] = False,
        **options: Unpack[ChatKeywords],
    ) -> Coroutine[Any, Any, Reply[P]]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        response_format: type[P],
        use_tqdm: bool = False,
        stream: Literal[False] = False,
        **options: Unpack[ChatKeywords],
    ) -> Coroutine[Any, Any, list[Reply[P]]]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        sampling_params: Params = None,
        *,
        response_format: Mapping[str, Any] | None = None,
        use_tqdm: bool = False,
        stream: Literal[False] = False,
        **options: Unpack[ChatKeywords],
    ) -> Coroutine[Any, Any, Reply[Any]]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        response_format: Mapping[str, Any] | None = None,
        use_tqdm: bool = False,
        stream: Literal[False] = False,
        **options: Unpack[ChatKeywords],
    ) -> Coroutine[Any, Any, list[Reply[Any]]]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        response_format: type[BaseModel] | Mapping[str, Any] | None = None,
        use_tqdm: bool = False,
        stream: Literal[True],
        **options: Unpack[ChatKeywords],
    ) -> AsyncStream[ChatDelta]: ...
    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: Params = None,
        *,
        response_format: type[BaseModel] | Mapping[str, Any] | None = None,
        use_tqdm: bool = False,
        stream: bool = False,
        **options: Unpack[ChatKeywords],
    ) -> Coroutine[Any, Any, Any] | AsyncStream[ChatDelta]:
        """As `LLM.chat`: awaited for the replies, or with `stream` an asynchronous iterator of ChatDeltas.

        >>> import asyncio
        >>> async def main():
        ...     async with AsyncLLM() as llm:
        ...         chat = [{"role": "user", "content": "Hi"}]
        ...         params = SamplingParams(max_tokens=8, temperature=0)
        ...         parts = [delta.text async for delta in llm.chat(chat, params, stream=True)]
        ...         return "".join(parts) == (await llm.chat(chat, params)).text
        >>> asyncio.run(main())
        True
        """
        requests = self._llm._requests
        several = False

        def prepare() -> Work:
            nonlocal several
            work, several = requests.chat(messages, sampling_params, response_format, options)
            return work

        async def run() -> Any:
            replies = await self._run(prepare, requests.reply, "chat", use_tqdm)
            return replies if several else replies[0]

        if stream:
            return AsyncStream(self._llm, prepare, lambda work: answered.ChatDeltas(work.jobs).of)
        return run()

    async def embed(
        self,
        texts: Prompt | Sequence[Prompt],
        *,
        normalize: int = 2,
        dimensions: int | None = None,
        use_tqdm: bool = False,
    ) -> list[Embedding]:
        """As `LLM.embed`."""
        tokens = await asyncio.to_thread(self._llm._requests.embed, texts)
        return embeddings(tokens, await self._vectors(tokens, "embed", use_tqdm, normalize, dimensions))

    async def rerank(
        self, query: str, documents: Sequence[str], *, top_n: int | None = None, use_tqdm: bool = False
    ) -> list[Ranked]:
        """As `LLM.rerank`."""
        tokens = await asyncio.to_thread(self._llm._requests.rerank, query, documents, top_n)
        return ranked(documents, await self._vectors(tokens, "rerank", use_tqdm, -1, None), top_n)

    async def score(
        self,
        texts: Prompt | Sequence[Prompt],
        prompts: Prompt | Sequence[Prompt] | None = None,
        *,
        use_tqdm: bool = False,
    ) -> list[Score]:
        """As `LLM.score`."""
        asked = await asyncio.to_thread(self._llm._requests.score, texts, prompts)
        return asked.results(await self._run(lambda: asked.work, lambda _, choices: choices, "score", use_tqdm))

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """As `LLM.tokenize`; at once."""
        return self._llm.tokenize(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, token_ids: Sequence[int], *, special: bool = False) -> str:
        """As `LLM.detokenize`; at once."""
        return self._llm.detokenize(token_ids, special=special)

    @property
    def n_ctx(self) -> int:
        """As `LLM.n_ctx`."""
        return self._llm.n_ctx

    @property
    def info(self) -> dict[str, Any]:
        """As `LLM.info`."""
        return self._llm.info

    async def close(self) -> None:
        """As `LLM.close`, also of an `LLM` that was given."""
        await asyncio.to_thread(self._llm.close)

    async def __aenter__(self) -> AsyncLLM:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Async{self._llm!r}"

    async def _run(
        self, prepare: Callable[[], Work], finish: Callable[[Job, Any], T], name: str, use_tqdm: bool
    ) -> list[T]:
        work = await asyncio.to_thread(prepare)
        jobs = work.jobs
        results: list[Any] = [None] * len(jobs)
        queue = _Queue()
        with Batch(self._llm._loaded.dispatcher, queue.put) as batch:
            for number, job in enumerate(jobs):
                try:
                    batch.submit(number, job)
                except Exception as error:
                    raise work.error(number, error) from None
            with progress(len(jobs), name, use_tqdm) as advance:
                for _ in jobs:
                    number, item = await queue.get()
                    if isinstance(item, Exception):
                        raise work.error(number, item)
                    results[number] = finish(jobs[number], item)
                    advance(1)
        return results

    async def _vectors(
        self, tokens: list[list[int]], name: str, use_tqdm: bool, normalize: int, dimensions: int | None
    ) -> list[list[bytes]]:
        results: list[list[bytes]] = [[]] * len(tokens)
        if not tokens:
            return results
        queue = _Queue()
        with Batch(self._llm._loaded.dispatcher, queue.put) as batch:
            batch.embed(tokens, normalize, dimensions, self._llm._loaded.jobs.lora)
            with progress(len(tokens), name, use_tqdm) as advance:
                for _ in tokens:
                    number, item = await queue.get()
                    if isinstance(item, Exception):
                        raise item
                    results[number] = item
                    advance(1)
        return results


class _Queue:
    """What comes from the dispatcher's thread, for the loop that is running now."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()

    def put(self, number: int, item: Any) -> None:
        """From any thread. A loop that has ended waits for nothing more."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (number, item))

    async def get(self) -> tuple[int, Any]:
        """The next job's number and what came of it."""
        return await self._queue.get()


class AsyncStream(Generic[D]):
    """An asynchronous iterator of deltas, whose request begins with the first one asked for, or when it is awaited.

    Closing it, leaving its `async with` block or dropping it aborts what has not ended. Errors of the request are
    raised where the first delta is asked for.
    """

    def __init__(self, llm: LLM, prepare: Callable[[], Work], reader: Callable[[Work], Read[D]]) -> None:
        self._llm, self._prepare, self._reader = llm, prepare, reader
        self._ready: deque[D] = deque()
        self._begun: tuple[Work, Batch, _Queue, Read[D]] | None = None
        self._left = 0
        self._closed = False

    def __await__(self) -> Generator[Any, None, AsyncStream[D]]:
        return self._begin().__await__()

    async def _begin(self) -> AsyncStream[D]:
        if self._begun is None and not self._closed:
            work = await asyncio.to_thread(self._prepare)
            queue = _Queue()
            batch = Batch(self._llm._loaded.dispatcher, queue.put, stream=True)
            self._begun = work, batch, queue, self._reader(work)
            self._left = sum(job.params.n for job in work.jobs)
            try:
                for number, job in enumerate(work.jobs):
                    batch.submit(number, job)
            except BaseException:
                self._end()
                raise
        return self

    def __aiter__(self) -> AsyncStream[D]:
        return self

    async def __anext__(self) -> D:
        await self._begin()
        while not self._ready:
            if self._left <= 0 or self._begun is None:
                raise StopAsyncIteration
            work, _, queue, read = self._begun
            number, item = await queue.get()
            if isinstance(item, Exception):
                self._end()
                raise work.error(number, item)
            self._left -= item.is_last
            self._ready.extend(read(number, item))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Aborts what has not ended; there are no further deltas. Idempotent."""
        self._end()

    async def __aenter__(self) -> AsyncStream[D]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._end()

    def __del__(self) -> None:
        if self._begun is not None:
            self._begun[1].close()

    def _end(self) -> None:
        self._left, self._closed = 0, True
        self._ready.clear()
        if self._begun is not None:
            self._begun[1].close()
