"""Answers of the database that come late: what happens between a read and its answer, happens here for certain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from tricord.homeserver.storage.database import Database


@dataclass
class LateAnswer:
    """An answer of the database that has come once `is_there`, and is given when it may `go`."""

    is_there: trio.Event = field(default_factory=trio.Event)
    go: trio.Event = field(default_factory=trio.Event)


class LateAnswers:
    """Makes answers of a database late."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self._late: dict[str, list[LateAnswer]] = {}
        monkeypatch.setattr(database, "read", self._late_at_times(database.read))
        monkeypatch.setattr(database, "run", self._late_at_times(database.run))

    def next_of(self, function: Callable[..., Awaitable[Any]] | str) -> LateAnswer:
        """Make the next answer of a kind late that is not late already; the kind may be a name."""
        answer = LateAnswer()
        self._late.setdefault(function if isinstance(function, str) else function.__name__, []).append(answer)
        return answer

    def _late_at_times(self, ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def ask_late(function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            late = self._late.get(function.__name__)
            answer = late.pop(0) if late else None
            found = await ask(function, *args, **kwargs)
            if answer is not None:
                answer.is_there.set()
                await answer.go.wait()
            return found

        return ask_late
