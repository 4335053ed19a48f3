"""Stems that are remembered, where several ask for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import trio

from tricord.homeserver.search import stems
from tricord.homeserver.search.stems import Stems


async def test_a_word_that_is_forgotten_while_others_are_asked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    is_asked, go = trio.Event(), trio.Event()

    async def stems_of(_tx: object, words: Collection[str]) -> list[tuple[str, list[str]]]:
        if "seas" in words:
            is_asked.set()
            await go.wait()
        return [(word, [word.rstrip("s")]) for word in words]

    monkeypatch.setattr(stems, "stems_of", stems_of)
    monkeypatch.setattr(stems, "_MOST_REMEMBERED", 1)
    tx: Any = None
    known, found = Stems(), {}
    await known.of(tx, ["teas"])

    async def ask() -> None:
        found.update(await known.of(tx, ["teas", "seas"]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await is_asked.wait()
        await known.of(tx, ["cakes"])
        go.set()
    assert found == {"teas": {"teas", "tea"}, "seas": {"seas", "sea"}}
