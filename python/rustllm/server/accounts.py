"""What each key has asked for: its rates, its counts, and who of all keys a request belongs to.

An `Account` belongs to a key. Its rates are buckets (`bucket.py`). A request is taken while there is anything in the
bucket, and may take out more than there is: the debt is then waited for, so that the rate holds over time whatever a
single request needs.
"""

from __future__ import annotations

import contextvars
import hashlib
import hmac
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from starlette.datastructures import Headers

from rustllm.keys import ApiKey
from rustllm.pace import Returns
from rustllm.server.bucket import Bucket, Moment
from rustllm.server.errors import ApiError

#: Whose request the running code belongs to; None without keys.
current: contextvars.ContextVar[Account | None] = contextvars.ContextVar("account", default=None)

#: What each answer tells of a rate, and the headers that tell it.
_TOLD = ("limit", "remaining", "reset")
RATE_HEADERS = frozenset(f"x-ratelimit-{what}-{rate}" for what in _TOLD for rate in ("requests", "tokens"))


class Account:
    """What belongs to one key."""

    def __init__(self, key: ApiKey, clock: Callable[[], float] = monotonic, full_at: Moment | None = None) -> None:
        """`full_at` is when the bucket of tokens is full, where others know it as well."""
        self.name, self.weight = key.name, key.weight
        self.rates: dict[str, Bucket] = {}
        if key.requests_per_minute is not None:
            self.rates["requests"] = Bucket(key.requests_per_minute, clock)
        if key.tokens_per_minute is not None:
            self.rates["tokens"] = Bucket(key.tokens_per_minute, clock, full_at)
        #: What it was served so far, for its turn in the queue: tokens by weight (`fair_queue.py`).
        self.served = 0.0
        #: When those of its requests may come again that found the queue full.
        self.returns = Returns(clock)
        self.n_waiting = 0
        self.n_running = 0
        self.n_requests = 0
        self.n_prompt_tokens = 0
        self.n_generated_tokens = 0
        #: Requests that were refused, by what was used up.
        self.n_refused = {"requests": 0, "tokens": 0, "queue": 0}

    def take_request(self) -> None:
        """Counts a request in. Raises ApiError 429 where there were too many."""
        self._require("requests")
        if "requests" in self.rates:
            self.rates["requests"].take(1)
        self.n_requests += 1

    @contextmanager
    def spending(self, n_prompt: int, n_limit: int) -> Iterator[Spending]:
        """Counts the tokens of an answer: those of its prompt and its limit now, others as they come, and what
        was not generated goes back. Raises ApiError 429 where there were too many."""
        self._require("tokens")
        spent = Spending(self, n_prompt, n_limit)
        try:
            yield spent
        finally:
            spent.settle()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """OpenAI's headers about rates."""
        lines: list[tuple[bytes, bytes]] = []
        for name, bucket in self.rates.items():
            values = (str(bucket.per_minute), str(max(0, int(bucket.level))), f"{bucket.reset:.3f}s")
            for what, value in zip(_TOLD, values, strict=True):
                lines.append((f"x-ratelimit-{what}-{name}".encode(), value.encode()))
        return lines

    def charge(self, n_tokens: int) -> None:
        """Takes tokens out of the rate."""
        if "tokens" in self.rates:
            self.rates["tokens"].take(n_tokens)

    def _require(self, name: str) -> None:
        bucket = self.rates.get(name)
        if bucket is None or bucket.level >= 1:
            return
        self.n_refused[name] += 1
        seconds = math.ceil(bucket.wait())
        message = f"key {self.name}: its {name} of this minute are used up, try again in {seconds} s; "
        error = ApiError(429, f"{message}allowed: {bucket.per_minute} ({name}_per_minute in --api-key-file)")
        error.retry_after = seconds
        raise error


class Spending:
    """The tokens of one answer. Its limit is taken when it begins, though no more than a minute has, which is what a
    process that is killed in the middle can lose; what goes beyond is taken as it comes."""

    def __init__(self, account: Account, n_prompt: int, n_limit: int) -> None:
        self._account = account
        self._n_prompt = n_prompt
        rate = account.rates.get("tokens")
        self._reserved = n_limit if rate is None else min(n_limit, rate.per_minute)
        self._generated = 0
        self._has_begun = False
        account.charge(n_prompt + self._reserved)

    def begin(self) -> None:
        """The engine has the request."""
        self._has_begun = True
        self._account.n_prompt_tokens += self._n_prompt
        self._account.served += self._n_prompt / self._account.weight

    def generated(self, n: int) -> None:
        """So many tokens were generated."""
        before = max(self._generated, self._reserved)
        self._generated += n
        if self._generated > before:
            self._account.charge(self._generated - before)
        self._account.n_generated_tokens += n
        # A token that is generated takes a step, of which one computes many of a prompt's.
        self._account.served += 2 * n / self._account.weight

    def settle(self) -> None:
        """Gives back what was not generated, and all of it where nothing was computed."""
        unused = max(0, self._reserved - self._generated)
        self._account.charge(-unused if self._has_begun else -unused - self._n_prompt)


class Accounts:
    """All keys."""

    def __init__(self, keys: Sequence[ApiKey], full_at: Sequence[Moment] | None = None) -> None:
        """`full_at` is of each key's tokens, where processes share them."""
        moments = [None] * len(keys) if full_at is None else full_at
        self.all = [Account(key, full_at=moment) for key, moment in zip(keys, moments, strict=True)]
        self._digests = [(_digest(key.key.encode()), account) for key, account in zip(keys, self.all, strict=True)]

    def of(self, headers: Headers) -> Account | None:
        """Whose request this is."""
        return self.find(_given(headers))

    def find(self, given: bytes) -> Account | None:
        """Whose key this is. It takes the same time for any key, right or wrong."""
        digest, found = _digest(given), None
        for other, account in self._digests:
            if hmac.compare_digest(digest, other):
                found = account
        return found


def _given(headers: Headers) -> bytes:
    """The key of a request, as its bytes came; empty without one, which is nobody's."""
    credentials, others = headers.getlist("authorization"), headers.getlist("x-api-key")
    if len(credentials) > 1 or len(others) > 1:
        # Which of them counts, a proxy and this server may see differently.
        return b""
    scheme, _, bearer = "".join(credentials).partition(" ")
    given = bearer if scheme.lower() == "bearer" else "".join(others)
    return given.strip().encode("latin-1")


def _digest(key: bytes) -> bytes:
    # Of one length, whatever the keys' lengths.
    return hashlib.sha256(key).digest()
