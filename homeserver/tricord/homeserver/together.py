"""Several reads at the same time, where one after the other would wait for the database again and again."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar, overload

import trio

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


@overload
async def together(a: Awaitable[A], b: Awaitable[B], /) -> tuple[A, B]: ...
@overload
async def together(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> tuple[A, B, C]: ...
@overload
async def together(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /) -> tuple[A, B, C, D]: ...
@overload
async def together(*reads: Awaitable[A]) -> tuple[A, ...]: ...


async def together(*reads: Awaitable[Any]) -> tuple[Any, ...]:
    """Await some reads at the same time and return what they return; raise, by itself, what the first to fail raises.

    None of them is awaited while a connection to the database is held, so they cannot wait for each other's.
    """
    found: list[Any] = [None] * len(reads)
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def read(number: int, awaitable: Awaitable[Any]) -> None:
            try:
                found[number] = await awaitable
            except Exception as failure:  # noqa: BLE001 - raised again below, without a group around it
                failures.append(failure)
                nursery.cancel_scope.cancel()

        for number, awaitable in enumerate(reads):
            nursery.start_soon(read, number, awaitable)
    if failures:
        raise failures[0]
    return tuple(found)
