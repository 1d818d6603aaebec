"""Whose turn it is: a queue in front of the engine's own, which is kept short, so that no key starves another.

The engine takes requests in the order in which they come. Here the next is of the key that was served least, in
tokens by its weight, of all that wait (Sheng et al., "Fairness in Serving Large Language Models", 2024). A key
that comes anew begins where the others are, so that nobody saves up. Where too many wait, the last one of the
key that has most of them waiting, by its weight, is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field

from rustllm.engine import BusyError
from rustllm.server.accounts import Account


@dataclass(eq=False)
class _Waiter:
    account: Account
    size: int
    #: The slot that it must run in.
    slot: int | None
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FairQueue:
    """Lets requests through to the engine, `capacity` sequences at a time."""

    def __init__(self, capacity: int, max_waiting: int, pace: Callable[[], float] = lambda: 1.0) -> None:
        """`pace` tells the seconds until a request ends, for those that are refused."""
        self._capacity, self._max_waiting, self._pace = capacity, max_waiting, pace
        self._waiting: dict[Account, list[_Waiter]] = {}
        self._n_waiting = 0
        self._n_inside = 0
        #: Slots that a request is inside for, which the engine may not be able to run at once.
        self._slots: set[int] = set()
        #: What the key whose turn came last had been served by then.
        self._clock = 0.0

    @property
    def n_waiting(self) -> int:
        """Requests that wait here."""
        return self._n_waiting

    @asynccontextmanager
    async def turn(self, account: Account, size: int, slot: int | None = None) -> AsyncIterator[None]:
        """Waits for the turn of a request of `size` sequences, and lets the next through once it is over. Raises
        BusyError."""
        waiter = _Waiter(account, size, slot)
        self._join(waiter)
        try:
            await waiter.turn
        except BaseException:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self._leave(waiter)
            else:
                self._forget(waiter)
            raise
        try:
            yield
        finally:
            self._leave(waiter)

    def _join(self, waiter: _Waiter) -> None:
        account = waiter.account
        if account.n_waiting == 0 and account.n_running == 0:
            account.served = max(account.served, self._clock)
        self._waiting.setdefault(account, []).append(waiter)
        self._count(account, 1)
        self._advance()
        if self._n_waiting > self._max_waiting:
            self._refuse_one(account)

    def _refuse_one(self, latest: Account) -> None:
        """Refuses the last request of the key that has most waiting; of two, of the one that came `latest`."""
        account = max(self._waiting, key=lambda one: (len(self._waiting[one]) / one.weight, one is latest))
        waiter = next((one for one in reversed(self._waiting[account]) if not one.turn.done()), None)
        if waiter is None:
            return
        self._forget(waiter)
        account.n_refused["queue"] += 1
        message = f"the queue is full: {self._n_waiting} requests are waiting, {self._max_waiting} are allowed"
        waiter.turn.set_exception(
            BusyError(
                message, account.returns.next(self._pace() / self._share(account), self._capacity + self._n_waiting)
            )
        )

    def _share(self, account: Account) -> float:
        """Which part of all turns a key has while others ask as well."""
        others = (one for one in self._waiting if one is not account)
        return account.weight / (account.weight + sum(one.weight for one in others))

    def _advance(self) -> None:
        while (waiter := self._next()) is not None:
            account = waiter.account
            self._forget(waiter)
            self._clock = max(self._clock, account.served)
            account.n_running += 1
            if waiter.slot is None:
                self._n_inside += waiter.size
            else:
                self._slots.add(waiter.slot)
            waiter.turn.set_result(None)

    def _next(self) -> _Waiter | None:
        """The request whose turn it is, if there is room for it."""
        for account in sorted(self._waiting, key=lambda one: one.served):
            # A request for a slot of its own waits for that, and those behind it pass.
            waiter = next((one for one in self._waiting[account] if self._has_room(one)), None)
            if waiter is not None:
                return waiter
        return None

    def _has_room(self, waiter: _Waiter) -> bool:
        if waiter.turn.done():
            # Its client has gone, which its task is about to hear.
            return False
        # One of many sequences is taken whole once there is any room, as by the engine.
        return self._n_inside < self._capacity if waiter.slot is None else waiter.slot not in self._slots

    def _leave(self, waiter: _Waiter) -> None:
        waiter.account.n_running -= 1
        if waiter.slot is None:
            self._n_inside -= waiter.size
        else:
            self._slots.discard(waiter.slot)
        self._advance()

    def _forget(self, waiter: _Waiter) -> None:
        mine = self._waiting.get(waiter.account, [])
        if waiter in mine:
            mine.remove(waiter)
            self._count(waiter.account, -1)
            if not mine:
                del self._waiting[waiter.account]

    def _count(self, account: Account, n: int) -> None:
        account.n_waiting += n
        self._n_waiting += n


def turn_in(
    queue: FairQueue | None, account: Account, size: int, slot: int | None = None
) -> AbstractAsyncContextManager[None]:
    """A request's turn, which is at once where there is no queue."""
    return nullcontext() if queue is None else queue.turn(account, size, slot)
