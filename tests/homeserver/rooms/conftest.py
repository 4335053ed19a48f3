"""A house for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.homeserver.late_answers import LateAnswers
from tests.homeserver.rooms.house import House, opened_house


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with opened_house(database_url) as house:
        yield house


@pytest.fixture
def late(house: House, monkeypatch: pytest.MonkeyPatch) -> LateAnswers:
    return LateAnswers(house.database, monkeypatch)
